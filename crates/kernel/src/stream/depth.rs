//! How far a look goes into the queue. While a snapshot is held somewhere, a look at the whole of it
//! walks past all that was done since; what came lately is found without that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pulse::EVERY;
use crate::error::Result;

/// Looking into the queue costs at most this share of the time, each way.
const SHARE: u32 = 20;
/// But the whole of it is looked at, however slow the machine.
const ALL_AT_LEAST_EVERY: Duration = Duration::from_mins(5);
/// When a look at the whole takes longer, nothing else waits for it.
const SLOW: Duration = Duration::from_millis(100);
/// What commits so long after it was written is found by the next look at the whole.
const LATE: Duration = Duration::from_secs(2);

/// What is new is looked for no farther back: at the highest rates, looking for it costs too much.
const BACK_MAX: Duration = Duration::from_secs(10);

/// How far a look goes into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    NoJobs,
    /// Jobs that were asked for, or were delayed until, at most so long ago.
    New(Duration),
    All,
}

impl Reach {
    pub(super) fn back(self) -> Option<Duration> {
        match self {
            Self::New(back) => Some(back),
            Self::NoJobs | Self::All => None,
        }
    }
}

/// When to look how far.
#[derive(Default)]
pub(super) struct Depth {
    looks: Mutex<Looks>,
}

impl Depth {
    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far to look now, and whether nothing is to wait for it.
    pub(super) fn next(&self) -> (Reach, bool) {
        let looks = self.looks();
        (looks.next(Instant::now()), looks.took > SLOW)
    }

    /// Looks, and says when to look again.
    pub(super) async fn spend(
        &self,
        reach: Reach,
        look: impl Future<Output = Result<Duration>>,
    ) -> Duration {
        let began = Instant::now();
        self.looks().all_is_under_way |= matches!(reach, Reach::All);
        let said = look.await;
        self.looks().ended(reach, began, Instant::now(), said.is_ok());
        said.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is due could not be read");
            EVERY
        })
    }
}

#[derive(Default)]
struct Looks {
    /// How long the last look at the whole took.
    took: Duration,
    all_is_under_way: bool,
    all_after: Option<Instant>,
    new_after: Option<Instant>,
    /// What was there before this has been seen.
    seen: Option<Instant>,
}

impl Looks {
    fn next(&self, now: Instant) -> Reach {
        let is_over = |rest: Option<Instant>| rest.is_none_or(|end| end <= now);
        if !self.all_is_under_way && is_over(self.all_after) {
            return Reach::All;
        }
        match self.seen {
            // After a quick look at the whole the next one is soon.
            Some(seen) if self.took > SLOW && is_over(self.new_after) => {
                Reach::New((now - seen + LATE).min(BACK_MAX))
            }
            _ => Reach::NoJobs,
        }
    }

    fn ended(&mut self, reach: Reach, began: Instant, now: Instant, well: bool) {
        let rest = (now - began) * SHARE;
        match reach {
            Reach::NoJobs => return,
            Reach::New(_) => self.new_after = Some(now + rest),
            Reach::All => {
                self.took = now - began;
                self.all_is_under_way = false;
                self.all_after = Some(now + rest.min(ALL_AT_LEAST_EVERY));
            }
        }
        if well {
            self.seen = self.seen.max(Some(began));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn quick_looks_reach_everything() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        assert_eq!(looks.next(now), Reach::All);
        looks.ended(Reach::All, now, now + 2 * MS, true);
        assert_eq!(looks.next(now + 41 * MS), Reach::NoJobs, "a twentieth of the time");
        assert_eq!(looks.next(now + 42 * MS), Reach::All);
    }

    #[test]
    fn while_looks_at_everything_are_slow_what_is_new_is_found_without_them() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        looks.ended(Reach::All, now, now + 1_000 * MS, true);
        let since_it_began = Reach::New(5_000 * MS + LATE);
        assert_eq!(looks.next(now + 5_000 * MS), since_it_began);
        looks.ended(since_it_began, now + 5_000 * MS, now + 5_010 * MS, true);
        assert_eq!(looks.next(now + 5_100 * MS), Reach::NoJobs, "a twentieth of the time");
        let next = Reach::New(500 * MS + LATE);
        assert_eq!(looks.next(now + 5_500 * MS), next);
        looks.ended(next, now + 5_500 * MS, now + 5_501 * MS, false);
        assert_eq!(looks.next(now + 6_000 * MS), Reach::New(1_000 * MS + LATE), "that one failed");
        assert_eq!(looks.next(now + 21_000 * MS), Reach::All);
        looks.all_is_under_way = true;
        assert_eq!(looks.next(now + 22_000 * MS), Reach::New(BACK_MAX));
    }
}
