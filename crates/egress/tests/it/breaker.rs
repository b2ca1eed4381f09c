//! The breaker against what it promises, for any order of events.

use std::time::{Duration, Instant};

use freehold_egress::{Breaker, BreakerRules};
use proptest::prelude::*;

const RULES: BreakerRules = BreakerRules {
    failures: 3,
    cool_down: Duration::from_secs(10),
    longest: Duration::from_secs(35),
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn three_failures_in_a_row_open_it_and_one_probe_closes_it() {
    let (mut breaker, start) = (Breaker::new(RULES), Instant::now());
    for _ in 0..2 {
        breaker.failed(start);
        assert_eq!(breaker.ask(start), Ok(()));
    }
    breaker.failed(start);
    assert_eq!(breaker.ask(start + seconds(4)), Err(seconds(6)));
    let later = start + seconds(10);
    assert_eq!(breaker.ask(later), Ok(()));
    assert_eq!(breaker.ask(later), Err(seconds(10)), "one probe at a time");
    breaker.succeeded();
    assert!(breaker.is_closed());
    assert_eq!(breaker.ask(later), Ok(()));
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
    let (mut breaker, mut now) = (Breaker::new(RULES), Instant::now());
    for _ in 0..3 {
        breaker.failed(now);
    }
    for pause in [10, 20, 35, 35] {
        assert_eq!(breaker.ask(now), Err(seconds(pause)));
        now += seconds(pause);
        assert_eq!(breaker.ask(now), Ok(()));
        breaker.failed(now);
    }
}

#[test]
fn a_probe_that_never_reports_is_followed_by_another() {
    let (mut breaker, start) = (Breaker::new(RULES), Instant::now());
    for _ in 0..3 {
        breaker.failed(start);
    }
    assert_eq!(breaker.ask(start + seconds(10)), Ok(()));
    assert_eq!(breaker.ask(start + seconds(20)), Ok(()));
}

#[derive(Clone, Debug)]
enum Event {
    Ask,
    Succeed,
    Fail,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Ask),
        1 => Just(Event::Succeed),
        4 => Just(Event::Fail),
        2 => (1..40_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_keeps_its_promises(events in proptest::collection::vec(event(), 0..200)) {
        let (mut breaker, mut now) = (Breaker::new(RULES), Instant::now());
        let mut in_a_row = 0;
        let mut let_through_at: Option<Instant> = None;
        for event in events {
            match event {
                Event::Wait(n) => now += seconds(n),
                Event::Succeed => {
                    breaker.succeeded();
                    in_a_row = 0;
                    let_through_at = None;
                    prop_assert!(breaker.is_closed());
                }
                Event::Fail => {
                    breaker.failed(now);
                    in_a_row += 1;
                    prop_assert_eq!(breaker.is_closed(), in_a_row < RULES.failures);
                }
                Event::Ask => match breaker.ask(now) {
                    Err(wait) => {
                        prop_assert!(in_a_row >= RULES.failures);
                        prop_assert!(!wait.is_zero() && wait <= RULES.longest);
                    }
                    Ok(()) if in_a_row >= RULES.failures => {
                        let apart = let_through_at.is_none_or(|at| now - at >= RULES.cool_down);
                        prop_assert!(apart, "one probe per pause");
                        let_through_at = Some(now);
                    }
                    Ok(()) => {}
                },
            }
        }
    }
}
