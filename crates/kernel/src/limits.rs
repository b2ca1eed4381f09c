//! Rate limits in this process: the generic cell rate algorithm (GCRA), keyed, bounded in memory.
//!
//! One number per key: the theoretical arrival time of the next request. A request is let through
//! when that time lies no further ahead than the burst allows.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SHARDS: usize = 64;
/// Keys per shard before idle ones are swept: 64 × 4,096 keys are about 8 MB.
const SHARD_KEYS_MAX: usize = 4_096;
/// Counts all callers for whom a shard has no room.
const OVERFLOW_KEY: u64 = u64::MAX;

/// How many requests, in what time, and how many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests let through in `window` in the long run.
    pub limit: u32,
    /// The time the limit is stated for.
    pub window: Duration,
    /// Requests let through at once after a rest.
    pub burst: u32,
}

impl Quota {
    /// `limit` requests a minute, `burst` of them at once.
    #[must_use]
    pub const fn per_minute(limit: u32, burst: u32) -> Self {
        Self { limit, window: Duration::from_secs(60), burst }
    }

    fn interval_ns(self) -> u64 {
        let window = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX);
        window / u64::from(self.limit.max(1))
    }
}

/// What the limiter says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Requests at once after a rest.
    pub limit: u32,
    /// Requests that would be let through right now.
    pub remaining: u32,
    /// Time until the full burst is there again.
    pub reset_after: Duration,
    /// Time until the next request would be let through; zero when allowed.
    pub retry_after: Duration,
}

/// Counts by key. Keys are hashed; two that collide share a count, which errs on the strict side.
pub struct RateLimiter {
    started: Instant,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<u64, u64>>>,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl RateLimiter {
    /// Counts one request of `key` now.
    pub fn check(&self, key: impl std::hash::Hash, quota: Quota) -> Decision {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.check_at(self.hasher.hash_one(key), quota, now)
    }

    /// Takes back one request of `key` that was counted, as if it had not been made.
    pub fn give_back(&self, key: impl std::hash::Hash, quota: Quota) {
        let key = self.hasher.hash_one(key);
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        // One that was counted with others, because there was no room, stays counted.
        if let Some(arrival) = shard.get_mut(&key) {
            *arrival = arrival.saturating_sub(quota.interval_ns());
        }
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, u64>> {
        &self.shards[usize::from(key.to_be_bytes()[0]) % SHARDS]
    }

    fn check_at(&self, key: u64, quota: Quota, now_ns: u64) -> Decision {
        let interval = quota.interval_ns();
        let burst = interval.saturating_mul(u64::from(quota.burst.max(1)));
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = key;
        if shard.len() >= SHARD_KEYS_MAX && !shard.contains_key(&key) {
            // A key whose time has passed has its full burst again, which is what no entry means.
            shard.retain(|_, arrival| *arrival > now_ns);
            if shard.len() >= SHARD_KEYS_MAX {
                // More callers at once than memory is given for: the newcomers share one count.
                key = OVERFLOW_KEY;
            }
        }
        let arrival = shard.get(&key).copied().unwrap_or(0).max(now_ns);
        let next = arrival.saturating_add(interval);
        let allowed = next - now_ns <= burst;
        let held = if allowed { next } else { arrival };
        if allowed {
            shard.insert(key, next);
        }
        let used = held - now_ns;
        let remaining = burst.saturating_sub(used) / interval.max(1);
        Decision {
            allowed,
            limit: quota.burst,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_after: Duration::from_nanos(used),
            retry_after: Duration::from_nanos(if allowed { 0 } else { next - burst - now_ns }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_one_request_per_interval() {
        let limiter = RateLimiter::default();
        let quota = Quota::per_minute(60, 3);
        let seen: Vec<_> = (0..4).map(|_| limiter.check_at(1, quota, 0)).collect();
        assert_eq!(seen.iter().map(|d| d.allowed).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(seen.iter().map(|d| d.remaining).collect::<Vec<_>>(), [2, 1, 0, 0]);
        assert_eq!(seen[3].retry_after, Duration::from_secs(1));
        assert!(limiter.check_at(1, quota, SECOND).allowed);
        assert!(!limiter.check_at(1, quota, SECOND).allowed);
        assert!(limiter.check_at(2, quota, SECOND).allowed, "another key has its own count");
    }

    #[test]
    fn what_is_given_back_was_never_counted() {
        let limiter = RateLimiter::default();
        let quota = Quota::per_minute(1, 2);
        for _ in 0..20 {
            assert!(limiter.check("ada", quota).allowed);
            limiter.give_back("ada", quota);
        }
        assert!(limiter.check("ada", quota).allowed && limiter.check("ada", quota).allowed);
        assert!(!limiter.check("ada", quota).allowed);
        limiter.give_back("bob", quota);
        assert!(!limiter.check("ada", quota).allowed, "somebody else's");
        limiter.give_back("ada", quota);
        assert!(limiter.check("ada", quota).allowed);
    }

    proptest::proptest! {
        #[test]
        fn no_window_holds_more_than_limit_plus_burst(
            gaps_ms in proptest::collection::vec(0u64..200, 1..400),
        ) {
            let limiter = RateLimiter::default();
            let quota = Quota { limit: 10, window: Duration::from_secs(1), burst: 5 };
            let mut now = 0;
            let mut passed = Vec::new();
            for gap in gaps_ms {
                now += gap * 1_000_000;
                if limiter.check_at(7, quota, now).allowed {
                    passed.push(now);
                }
            }
            for start in &passed {
                let within = passed.iter().filter(|at| (*start..start + SECOND).contains(at)).count();
                proptest::prop_assert!(within <= 15, "{within} in one second");
            }
        }
    }
}
