//! A circuit breaker: after enough failures in a row it lets nothing through for a while, then one
//! probe. A pure state machine: the caller keeps one per host and tells it the time.

use std::time::{Duration, Instant};

/// When a [`Breaker`] opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it then stays open; doubled by each probe that fails.
    pub cool_down: Duration,
    /// The longest it stays open.
    pub longest: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { failures: 5, cool_down: Duration::from_secs(5), longest: Duration::from_secs(300) }
    }
}

/// One host's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: BreakerRules,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// A probe is out. Should nobody report back by `until`, the next may go.
    Probing {
        until: Instant,
        pause: Duration,
    },
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(rules: BreakerRules) -> Self {
        Self { rules, state: State::Closed { failures: 0 } }
    }

    /// Whether a request may go now. While open, the first to ask after the pause is the probe.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn ask(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, pause } | State::Probing { until, pause } => {
                let wait = until.saturating_duration_since(now);
                if !wait.is_zero() {
                    return Err(wait);
                }
                self.state = State::Probing { until: now + pause, pause };
                Ok(())
            }
        }
    }

    /// A request succeeded: the host lives, whenever it was sent.
    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A request failed. While open, late failures of earlier requests change nothing.
    pub fn failed(&mut self, now: Instant) {
        let BreakerRules { failures: most, cool_down, longest } = self.rules;
        let open = |pause: Duration| {
            let pause = pause.min(longest);
            State::Open { until: now + pause, pause }
        };
        self.state = match self.state {
            State::Closed { failures } if failures.saturating_add(1) >= most => open(cool_down),
            State::Closed { failures } => State::Closed { failures: failures + 1 },
            State::Open { until, pause } => State::Open { until, pause },
            State::Probing { pause, .. } => open(pause.saturating_mul(2)),
        };
    }

    /// Whether it lets requests through freely.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}
