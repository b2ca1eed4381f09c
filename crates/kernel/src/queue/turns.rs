//! Turns: what lets no more jobs of one key run at once, and start no faster, than their kind says.
//!
//! One node hands out the jobs of a key (see `node`), so what holds in its memory holds everywhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::job::{JobKind, Rate};

/// More than are in use at once; those that nobody has used for as long as any rate counts are
/// forgotten then.
const KEPT: usize = 4 * 1024;
/// The longest time that a rate may count.
pub(super) const RATE_WITHIN_MAX: Duration = Duration::from_secs(60);

/// Turns by queue.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<Arc<str>, Arc<Turn>>>);

struct Turn {
    at_once: Arc<Semaphore>,
    /// The last starts, as many as the rate allows.
    starts: Mutex<VecDeque<Instant>>,
}

impl Turns {
    /// Waits until one more of this queue may run; it may until the permit is dropped. What ran
    /// before `since` was another node's.
    pub(super) async fn take(
        &self,
        kind: &JobKind,
        queue: &Arc<str>,
        since: Instant,
    ) -> Option<OwnedSemaphorePermit> {
        let turn = self.of(kind, queue);
        let permit = turn.at_once.clone().acquire_owned().await.ok()?;
        if let Some(rate) = kind.rate {
            while let Some(wait) = turn.start(rate, since, Instant::now()) {
                tokio::time::sleep(wait).await;
            }
        }
        Some(permit)
    }

    fn of(&self, kind: &JobKind, queue: &Arc<str>) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= KEPT {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1 || turn.is_remembered());
        }
        let turn = turns.entry(queue.clone());
        let new =
            || Turn { at_once: Arc::new(Semaphore::new(kind.at_once)), starts: Mutex::default() };
        turn.or_insert_with(|| Arc::new(new())).clone()
    }
}

impl Turn {
    /// Notes a start, or says how long to wait for it: until the earliest of as many starts as there
    /// may be lies far enough back.
    fn start(&self, rate: Rate, since: Instant, now: Instant) -> Option<Duration> {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = starts.len() >= rate.starts;
        // How many started on the node before this one is not known.
        let earliest = if full { starts.front().copied() } else { Some(since) };
        let wait = earliest.map(|at| rate.within.saturating_sub(now.duration_since(at)));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        if full {
            starts.pop_front();
        }
        starts.push_back(now);
        None
    }

    /// Whether one runs, or has begun so lately that a rate counts it.
    fn is_remembered(&self) -> bool {
        // A permit holds the semaphore, and not this.
        if Arc::strong_count(&self.at_once) > 1 {
            return true;
        }
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.back().is_some_and(|last| last.elapsed() < RATE_WITHIN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whenever they ask, no stretch of time as long as the rate's holds more starts than it says.
        #[test]
        fn no_stretch_of_time_holds_more_starts_than_the_rate_says(
            starts in 1_usize..20,
            within_ms in 1_u64..2_000,
            pauses_ms in prop::collection::vec(0_u64..300, 1..200),
        ) {
            let rate = Rate { starts, within: Duration::from_millis(within_ms) };
            let turn = Turn { at_once: Arc::new(Semaphore::new(1)), starts: Mutex::default() };
            let since = Instant::now();
            let (mut now, mut began) = (since, Vec::new());
            for pause in pauses_ms {
                now += Duration::from_millis(pause);
                match turn.start(rate, since, now) {
                    None => began.push(now),
                    Some(wait) => prop_assert!(!wait.is_zero() && wait <= rate.within),
                }
            }
            for (at, first) in began.iter().enumerate() {
                let in_window = began[at..].iter().filter(|one| **one - *first < rate.within).count();
                prop_assert!(in_window <= starts, "{in_window} starts");
                prop_assert!(*first - since >= rate.within, "what the node before did is not known");
            }
        }
    }
}
