//! Deliveries while the process is killed again and again: nothing that was acknowledged is lost,
//! and nothing is called delivered that did not arrive.
#![allow(clippy::print_stderr, reason = "the seed and the figures, for whoever runs this")]

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use tokio::task::block_in_place;

pub(crate) mod customer;
pub(crate) mod receiver;

use customer::{Customer, Posting, event_ids};
use receiver::Receiver;

use crate::process::{Freehold, Start, folder};

/// What a killed process held is handed out again when its lease of 30 s has run out.
const PATIENCE: Duration = Duration::from_secs(100);
const ENVIRONMENT: [(&str, &str); 5] = [
    ("FREEHOLD_LOG", "error"),
    ("FREEHOLD_LIMIT_PER_IP_PER_MINUTE", "6000000"),
    ("FREEHOLD_LIMIT_PER_IP_BURST", "1000000"),
    ("FREEHOLD_LIMIT_PER_TENANT_PER_MINUTE", "6000000"),
    ("FREEHOLD_LIMIT_PER_TENANT_BURST", "1000000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_event_and_claims_no_delivery_that_did_not_arrive() {
    Box::pin(deliver_under_kills(10_000, 5)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make check-long"]
async fn long_kill_9_twenty_times_loses_none_of_a_hundred_thousand_events() {
    Box::pin(deliver_under_kills(100_000, 20)).await;
}

async fn deliver_under_kills(events: usize, kills: usize) {
    let seed = seed();
    eprintln!("{events} events, {kills} kills; again with FREEHOLD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let (began, folder) = (Instant::now(), folder());
    let (data, listen) = (folder.path().join("data"), free_address(&mut random));
    let mut freehold = start(&data, &listen);
    let receiver = Receiver::start().await;
    let customer = Arc::new(Customer::join(&listen, &receiver).await);
    let mut posting = Posting::of(&customer, events);
    let mut killed_at = Vec::new();
    for moment in moments(&mut random, events, kills) {
        until("the next kill", || posting.acknowledged() + receiver.count() >= moment.progress)
            .await;
        tokio::time::sleep(moment.pause).await;
        freehold.kill();
        killed_at.push(Instant::now());
        freehold = start(&data, &listen);
        customer.check_claims(&receiver).await;
    }
    let acknowledged = posting.end().await;
    eprintln!("all were acknowledged after {:.1?}", began.elapsed());
    until("all to arrive", || receiver.count() >= events && receiver.ids().len() >= events).await;
    customer.wait_until_nothing_is_pending().await;
    eprintln!("all had arrived after {:.1?}", began.elapsed());

    assert_eq!(receiver.refusals(), [""; 0], "every signature verifies");
    assert_eq!(acknowledged.len(), events, "each id of ours is an event of its own");
    assert_eq!(receiver.ids(), acknowledged, "what was acknowledged arrived, and nothing else did");
    let log = customer.log("").await;
    assert_eq!(log.len(), events, "one delivery for each event");
    assert!(log.iter().all(|delivery| delivery["status"] == "delivered"));
    assert_eq!(event_ids(&log), acknowledged, "the log agrees");
    receiver.check_copies(&killed_at);
    assert!(freehold.stop().success());
}

/// When to kill: this long after so many events have been acknowledged or have arrived.
struct Moment {
    progress: usize,
    pause: Duration,
}

/// One moment in each part of the run, so that something is always on its way in or out.
fn moments(random: &mut Rng, events: usize, kills: usize) -> Vec<Moment> {
    let part = 2 * events / (kills + 1);
    let moment = |number| Moment {
        progress: number * part + random.usize(1..part),
        pause: Duration::from_micros(random.u64(0..50_000)),
    };
    (0..kills).map(moment).collect()
}

/// Waits for it, with a deadline.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn seed() -> u64 {
    match std::env::var("FREEHOLD_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        }
    }
}

/// A port below those that outgoing connections take: nobody has it when the process comes back.
fn free_address(random: &mut Rng) -> String {
    loop {
        let address = format!("127.0.0.1:{}", random.u16(20_000..32_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

fn start(data: &Path, listen: &str) -> Freehold {
    let up = Start {
        listen,
        environment: &ENVIRONMENT,
        arguments: &["--no-demo"],
        ..Start::in_folder(data)
    };
    block_in_place(|| up.run())
}
