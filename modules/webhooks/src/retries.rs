//! When a delivery that failed is tried again.

use std::time::Duration;

use freehold_kernel::Result;
use freehold_kernel::crypto::random;

use crate::health::GONE_STATUS;
use crate::request::Reply;

/// Seconds after the first request and each retry but the last until the next.
const RETRIES: [u32; 5] = [5, 10, 20, 40, 80];

/// When the next request is due; `None` when it arrived, will never, or this was the last. `number`
/// is that of the request, from 1; `schedule` is the endpoint's, if it has one.
pub(crate) fn next(
    number: u32,
    reply: &Reply,
    schedule: Option<&[u32]>,
) -> Result<Option<Duration>> {
    if reply.arrived() || reply.status_code == Some(GONE_STATUS) {
        return Ok(None);
    }
    wait(number, schedule.unwrap_or(&RETRIES), reply.retry_after)
}

/// How long until the next request after `failures` of them; `None` after the last.
fn wait(failures: u32, schedule: &[u32], asked: Option<Duration>) -> Result<Option<Duration>> {
    let at = usize::try_from(failures).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(planned) = schedule.get(at) else { return Ok(None) };
    let jittered = jittered(Duration::from_secs(u64::from(*planned)), 0.2)?;
    Ok(Some(asked.map_or(jittered, |asked| asked.max(jittered))))
}

/// Give or take half of this share, so that what failed together does not come back together.
pub(crate) fn jittered(planned: Duration, share: f64) -> Result<Duration> {
    let [dice] = random::<1>()?;
    Ok(planned.mul_f64(1.0 - share / 2.0 + share * f64::from(dice) / 255.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_requests_are_made_the_last_five_after_5_10_20_40_and_80_seconds() {
        for (failures, seconds) in [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 80.0)] {
            let planned = wait(failures, &RETRIES, None).unwrap().unwrap().as_secs_f64();
            assert!((seconds * 0.9..=seconds * 1.1).contains(&planned), "{failures}: {planned}");
        }
        assert_eq!(wait(6, &RETRIES, None).unwrap(), None);
        let asked = Some(Duration::from_secs(60));
        assert_eq!(wait(1, &RETRIES, asked).unwrap(), asked);
        assert!(wait(2, &[1, 3600], None).unwrap().unwrap() > Duration::from_secs(3000));
        assert_eq!(wait(3, &[1, 3600], None).unwrap(), None);
    }
}
