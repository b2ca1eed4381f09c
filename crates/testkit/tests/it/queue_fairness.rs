//! Where places are scarce: what goes first within a tenant, and that each tenant gets the same time.

use std::time::{Duration, Instant};

use freehold_testkit::{Tenant, TestApp};

use crate::queue_kinds::{Chore, Log};
use crate::queue_orders::{JOBS, acme, acme_on, ask, narrow_node};
use crate::stream::{Watch, count, counts, run, within};

const WHILE: Duration = Duration::from_secs(20);

/// Holds the tenant's only place.
async fn hold(app: &TestApp, tenant: &Tenant) {
    ask(app, tenant, &[Chore::that("gate", "holds")]).await;
    Watch::of(tenant).gate.reached().await;
}

fn ranked(rank: u8, name: &str) -> Chore {
    Chore { rank, ..Chore::new(name, 1) }
}

#[tokio::test]
async fn high_goes_before_normal_before_low_and_each_in_the_order_of_asking() {
    let (app, acme) = acme_on(narrow_node(4)).await;
    hold(&app, &acme).await;
    for number in 0..5 {
        for (rank, name) in [(2, "low"), (0, "high"), (1, "normal")] {
            ask(&app, &acme, &[ranked(rank, &format!("{name} {number}"))]).await;
        }
    }
    Watch::of(&acme).gate.open();
    counts(&app, JOBS, 0).await;
    let wanted = ["high", "normal", "low"].map(|name| (0..5).map(move |n| format!("{name} {n}")));
    let wanted: Vec<String> = wanted.into_iter().flatten().collect();
    assert_eq!(Log::of(&acme).names()[1..], wanted);
}

#[tokio::test]
async fn a_tenant_with_thousands_of_slow_jobs_lets_anothers_go_next() {
    let (app, acme) = acme_on(narrow_node(1)).await;
    let other = app.tenant("Other").await;
    ask(&app, &acme, &vec![Chore::new("slow", 20); 2_000]).await;
    let (slow, quick) = (Log::of(&acme), Log::of(&other));
    for round in 0..5 {
        within(WHILE, "the slow ones run", async || {
            (slow.names().len() >= 10 * (round + 1)).then_some(())
        })
        .await;
        let before = slow.names().len();
        ask(&app, &other, &[Chore::new("quick", 1)]).await;
        within(WHILE, "the other's runs", async || (quick.names().len() > round).then_some(()))
            .await;
        let at = quick.begun()[round].at;
        let meanwhile = slow.begun()[before..].iter().filter(|slow| slow.at < at).count();
        assert!(meanwhile <= 3, "{meanwhile} slow ones went first");
    }
    run(&app, "delete from core.jobs where state = 'waiting'").await;
}

#[tokio::test]
async fn tenants_get_the_same_worker_time_however_long_their_jobs_take() {
    let (app, acme) = acme_on(narrow_node(1)).await;
    let other = app.tenant("Other").await;
    ask(&app, &acme, &vec![Chore::new("slow", 20); 1_000]).await;
    ask(&app, &other, &vec![Chore::new("quick", 2); 3_000]).await;
    let (slow, quick) = (Log::of(&acme), Log::of(&other));
    within(WHILE, "three seconds of work", async || {
        (slow.time() + quick.time() > Duration::from_secs(3)).then_some(())
    })
    .await;
    let (slow, quick) = (slow.time(), quick.time());
    assert!(slow < 2 * quick && quick < 2 * slow, "slow ones had {slow:?}, quick ones {quick:?}");
    run(&app, "delete from core.jobs where state = 'waiting'").await;
}

#[tokio::test]
async fn a_thousand_that_become_due_at_once_begin_about_then_and_all_run() {
    let (app, acme) = acme().await;
    let mut tx = app.kernel().tenant_tx(acme.id).await.unwrap();
    let after = Duration::from_secs(1);
    (0..1_000).for_each(|_| tx.enqueue_after(&Chore::new("x", 0), after).unwrap());
    let asked = Instant::now();
    tx.commit().await.unwrap();
    within(WHILE, "all run", async || (count(&app, JOBS).await == 0).then_some(())).await;
    let begun = Log::of(&acme).begun();
    let first = begun[0].at - asked;
    assert!(first >= after, "{first:?}");
    assert!(first < after + Duration::from_secs(3), "{first:?}");
    assert_eq!(begun.len(), 1_000);
}
