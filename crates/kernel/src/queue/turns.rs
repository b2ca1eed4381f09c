//! Turns: what lets no more jobs of one key run at once, and start no faster, than their kind says.
//!
//! One node hands out the jobs of a key (see `node`), so what holds in its memory holds everywhere.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::job::{KeyLimits, Rate};

/// More than are in use at once; those that nobody has used for as long as any rate counts are
/// forgotten then.
const KEPT: usize = 4 * 1024;
/// The longest time that a rate may count.
pub(super) const RATE_WITHIN_MAX: Duration = Duration::from_secs(60);

/// Turns by queue.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<Arc<str>, Arc<Turn>>>);

#[derive(Default)]
struct Turn {
    held: Mutex<Held>,
    /// One may run that could not.
    freed: Notify,
}

#[derive(Default)]
struct Held {
    running: usize,
    /// What was said last.
    limits: KeyLimits,
    /// The last starts, as many as the rate allows.
    starts: VecDeque<Instant>,
    /// The last start that no rate counted.
    uncounted: Option<Instant>,
}

/// One that runs, until it is dropped.
pub(super) struct Permit(Arc<Turn>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.held().running -= 1;
        self.0.freed.notify_one();
    }
}

impl Turns {
    /// Waits until one more of this queue may run; it may until the permit is dropped. What ran
    /// before `since` was another node's. The limits hold for all that wait, from now on.
    pub(super) async fn take(&self, queue: &Arc<str>, limits: KeyLimits, since: Instant) -> Permit {
        let turn = self.of(queue);
        turn.limit(limits);
        let permit = turn.enter().await;
        loop {
            let wait = turn.held().start(since, Instant::now());
            let Some(wait) = wait else { return permit };
            tokio::time::sleep(wait).await;
        }
    }

    fn of(&self, queue: &Arc<str>) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= KEPT {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1 || turn.held().is_remembered());
        }
        turns.entry(queue.clone()).or_default().clone()
    }
}

impl Turn {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self, limits: KeyLimits) {
        let before = std::mem::replace(&mut self.held().limits, limits);
        if limits.at_once > before.at_once {
            self.freed.notify_waiters();
        }
    }

    async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on, whoever makes room tells this one.
            freed.as_mut().enable();
            if self.held().enter() {
                return Permit(self.clone());
            }
            freed.await;
        }
    }
}

impl Held {
    fn enter(&mut self) -> bool {
        let may = self.running < self.limits.at_once;
        self.running += usize::from(may);
        may
    }

    /// Notes a start, or says how long to wait for it: until the earliest of as many starts as there
    /// may be lies far enough back.
    fn start(&mut self, since: Instant, now: Instant) -> Option<Duration> {
        let Some(Rate { starts, within }) = self.limits.rate else {
            self.uncounted = Some(now);
            return None;
        };
        // How many started on the node before this one, or while nobody counted, is not known.
        let unknown = self.uncounted.max(Some(since));
        let earliest = match self.starts.len().checked_sub(starts) {
            Some(at) => unknown.max(self.starts.get(at).copied()),
            None => unknown,
        };
        let wait = earliest.map(|at| within.saturating_sub(now.duration_since(at)));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        while self.starts.len() >= starts {
            self.starts.pop_front();
        }
        self.starts.push_back(now);
        None
    }

    /// Whether one runs, or has begun so lately that a rate counts it.
    fn is_remembered(&self) -> bool {
        let last = self.starts.back().copied().max(self.uncounted);
        self.running > 0 || last.is_some_and(|last| last.elapsed() < RATE_WITHIN_MAX)
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
            let limits = KeyLimits { at_once: 1, rate: Some(rate) };
            let mut turn = Held { limits, ..Held::default() };
            let since = Instant::now();
            let (mut now, mut began) = (since, Vec::new());
            for pause in pauses_ms {
                now += Duration::from_millis(pause);
                match turn.start(since, now) {
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

    #[test]
    fn a_rate_that_is_set_or_lowered_counts_what_began_before() {
        let (now, ms) = (Instant::now(), Duration::from_millis(1));
        let rate = |starts| Some(Rate { starts, within: 1_000 * ms });
        let mut turn = Held { limits: KeyLimits { at_once: 1, rate: None }, ..Held::default() };
        assert_eq!(turn.start(now, now + 5_000 * ms), None);
        turn.limits.rate = rate(3);
        let wait = turn.start(now, now + 5_100 * ms);
        assert_eq!(wait, Some(900 * ms), "nobody counted until then");
        for at in [6_000, 6_100, 6_200] {
            assert_eq!(turn.start(now, now + at * ms), None);
        }
        turn.limits.rate = rate(1);
        let wait = turn.start(now, now + 6_300 * ms);
        assert_eq!(wait, Some(900 * ms), "after the last of the three");
        assert_eq!(turn.start(now, now + 7_200 * ms), None);
    }

    #[tokio::test]
    async fn those_that_wait_begin_when_more_may_run() {
        let (turns, queue) = (Turns::default(), Arc::from("a.b/1"));
        let limits = |at_once| KeyLimits { at_once, rate: None };
        let now = Instant::now();
        let _first = turns.take(&queue, limits(1), now).await;
        let mut second = Box::pin(turns.take(&queue, limits(1), now));
        assert!(futures_util::poll!(&mut second).is_pending());
        let _third = turns.take(&queue, limits(3), now).await;
        let second = second.await;
        let mut fourth = Box::pin(turns.take(&queue, limits(3), now));
        assert!(futures_util::poll!(&mut fourth).is_pending());
        drop(second);
        fourth.await;
    }
}
