//! What is promised about a key holds over all nodes, whoever comes and goes: so many at once, so many
//! within a while.

use std::collections::HashSet;
use std::time::Duration;

use freehold_testkit::TestApp;

use crate::queue_kinds::{Begun, Log, Metered, Narrow, Parcel, RATE};
use crate::queue_orders::{JOBS, acme, ask, beside, kill, node_of, settled};
use crate::stream::{count, within};

const WHILE: Duration = Duration::from_secs(40);
/// A run notes its beginning a moment after it was let go.
const SLACK: Duration = Duration::from_millis(50);

/// The shortest time in which one more began than may.
fn shortest(begun: &[Begun]) -> Duration {
    let mut times: Vec<_> = begun.iter().map(|begun| begun.at).collect();
    times.sort();
    times.windows(RATE.starts + 1).map(|these| these[RATE.starts] - these[0]).min().unwrap()
}

/// Waits until so many have begun.
async fn began(log: &Log, many: usize) {
    let what = format!("{many} begin");
    within(WHILE, &what, async || (log.names().len() >= many).then_some(())).await;
}

/// Waits until so many have begun, the last of them on one of these nodes, and takes that one out.
async fn holder(log: &Log, many: usize, nodes: &mut Vec<TestApp>) -> TestApp {
    let what = format!("{many} begin");
    let at = within(WHILE, &what, async || {
        let last = log.begun().get(many - 1..)?.last()?.node;
        nodes.iter().position(|app| node_of(app) == last)
    })
    .await;
    nodes.remove(at)
}

#[tokio::test]
async fn no_more_jobs_of_a_key_start_within_a_while_than_its_rate_says_while_nodes_come_and_go() {
    let (app, acme) = acme().await;
    let mut nodes = vec![beside(&app).await, beside(&app).await, app];
    settled(&nodes[0], 3).await;
    let log = Log::of(&acme);
    for number in 0..200 {
        let job = Metered { key: "k".into(), name: number.to_string() };
        ask(&nodes[number % 3], &acme, &[job]).await;
    }
    // Each time it is the node that hands them out.
    let stops = holder(&log, 40, &mut nodes).await;
    stops.stop().await;
    let dies = holder(&log, 90, &mut nodes).await;
    kill(&dies, &nodes[0]).await;
    nodes.push(beside(&nodes[0]).await);
    within(WHILE, "all run", async || (count(&nodes[0], JOBS).await == 0).then_some(())).await;
    let begun = log.begun();
    let names: HashSet<&str> = begun.iter().map(|begun| begun.name.as_str()).collect();
    assert_eq!(names.len(), 200);
    let on: HashSet<usize> = begun.iter().map(|begun| begun.node).collect();
    assert!(on.len() >= 3, "{} nodes worked on it", on.len());
    let shortest = shortest(&begun);
    assert!(shortest >= RATE.within - SLACK, "{} within {shortest:?}", RATE.starts + 1);
}

#[tokio::test]
async fn a_key_that_is_not_held_back_starts_as_fast_as_its_rate_allows() {
    let (app, acme) = acme().await;
    let jobs: Vec<_> = (0..60).map(|n| Metered { key: "k".into(), name: n.to_string() }).collect();
    ask(&app, &acme, &jobs).await;
    let log = Log::of(&acme);
    began(&log, 60).await;
    let begun = log.begun();
    let took = begun[59].at - begun[0].at;
    assert!(took < 2 * 6 * RATE.within, "60 took {took:?}");
    assert!(shortest(&begun) >= RATE.within - SLACK, "{:?}", shortest(&begun));
}

#[tokio::test]
async fn no_more_jobs_of_a_key_run_at_once_than_its_kind_says_while_nodes_come_and_go() {
    let (app, acme) = acme().await;
    let mut nodes = vec![beside(&app).await, beside(&app).await, app];
    settled(&nodes[0], 3).await;
    for key in 0..16 {
        let job = || Narrow { key: key.to_string(), ms: 100, waits: false };
        for node in &nodes {
            ask(node, &acme, &[job(), job(), job(), job(), job(), job(), job()]).await;
        }
    }
    let log = Log::of(&acme);
    began(&log, 80).await;
    // Before a fourth one comes and any goes: keys are spread over the nodes.
    let busy = || log.begun().iter().map(|begun| begun.node).collect::<HashSet<usize>>().len();
    within(WHILE, "all three nodes begin", async || (busy() == 3).then_some(())).await;
    nodes.push(beside(&nodes[0]).await);
    let stops = nodes.remove(0);
    stops.stop().await;
    began(&log, 150).await;
    let dies = nodes.remove(0);
    kill(&dies, &nodes[0]).await;
    within(WHILE, "all run", async || (count(&nodes[0], JOBS).await == 0).then_some(())).await;
    assert_eq!(log.most_of_a_key(), 2);
    let begun = log.begun();
    assert!(begun.len() >= 16 * 21, "{}", begun.len());
}

#[tokio::test]
async fn no_more_jobs_of_a_key_go_through_a_pipeline_at_once_than_their_kind_says() {
    let (app, acme) = acme().await;
    let other = beside(&app).await;
    let parcels: Vec<Parcel> =
        (0..400).map(|n| Parcel::new(&(n % 8).to_string(), "x", false)).collect();
    ask(&app, &acme, &parcels[..200]).await;
    ask(&other, &acme, &parcels[200..]).await;
    within(WHILE, "all run", async || (count(&app, JOBS).await == 0).then_some(())).await;
    let log = Log::of(&acme);
    assert_eq!((log.names().len(), log.most_of_a_key()), (400, 2));
}
