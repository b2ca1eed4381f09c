//! PostgreSQL restarted and killed under load of audited changes and of deliveries. The node is left
//! alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balancer::Balancer;
use super::installation::{Installation, addresses, register};
use super::load::{Failed, Load};
use super::until;
use crate::kill::customer::{Customer, Posting, event_ids};
use crate::kill::receiver::Receiver;

/// Before this everything must be as it was.
const RECOVERY: Duration = Duration::from_secs(30);
/// What was being sent when the database went may be sent again after a lease of 30 s.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn restarted_and_killed_under_load_it_loses_nothing_and_does_nothing_twice() {
    Box::pin(lose_the_database(1, 600)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make check-long"]
async fn long_restarted_and_killed_five_times_it_loses_nothing_and_does_nothing_twice() {
    Box::pin(lose_the_database(5, 5_000)).await;
}

async fn lose_the_database(rounds: usize, events: usize) {
    let mut installation = Installation::new();
    let [address] = addresses();
    let mut node = installation.up(address, &[]);
    let token = register(address, "grace").await;
    let receiver = Receiver::start().await;
    let customer = Arc::new(Customer::join(&address.to_string(), &receiver).await);
    let balancer = Balancer::before(&[address]);
    let load = Load::on(&balancer, &token, Failed::TriedAgain);
    let mut posting = Posting::of(&customer, events);
    let (mut accidents, mut slowest) = (Vec::new(), Duration::ZERO);
    for number in 0..2 * rounds {
        load.acknowledges_more(30).await;
        let arrived = events * (number + 1) / (4 * rounds);
        until("deliveries", PATIENCE, async || receiver.count() >= arrived).await;
        accidents.push(Instant::now());
        tokio::task::block_in_place(|| {
            if number % 2 == 0 {
                installation.stop_database();
            } else {
                installation.kill_database();
            }
            installation.start_database();
        });
        accidents.push(Instant::now());
        let recovered = load.acknowledges_more(1).await;
        eprintln!("{} to the next change after PostgreSQL was back", millis(recovered));
        slowest = slowest.max(recovered);
    }
    let acknowledged = posting.end().await;
    until("all to arrive", PATIENCE, async || receiver.ids().len() >= events).await;
    customer.wait_until_nothing_is_pending().await;
    let done = load.end().await;
    assert!(node.lives(), "nobody restarted it");
    done.verify(&installation.sql()).await;
    assert_eq!(receiver.ids(), acknowledged, "what was acknowledged arrived, and nothing else did");
    assert_eq!(
        event_ids(&customer.log("&status=delivered").await),
        acknowledged,
        "so says the log"
    );
    receiver.check_copies(&accidents);
    eprintln!(
        "{} changes, {} of them tried again, {events} events; recovered within {}, the longest \
         wait of a client {}",
        done.acknowledged.len(),
        done.refused,
        millis(slowest),
        millis(done.longest_gap),
    );
    assert!(slowest < RECOVERY && done.longest_gap < RECOVERY);
    node.stop();
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
