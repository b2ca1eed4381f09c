//! Jobs of which one waits at a time.

use std::time::Duration;

use freehold_testkit::{Tenant, TestApp};
use futures_util::future::join_all;

use crate::queue_kinds::{Log, Once, OnceToo};
use crate::queue_orders::{ACTIVE, JOBS, Operator, acme, ask, ask_later, beside};
use crate::stream::{Watch, count, counts};

const HOUR: Duration = Duration::from_secs(3600);

/// Lets none begin. Every node knows of it within a second.
async fn hold(operator: &Operator<'_>) {
    operator.pause("fixture.once").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

/// Asks for a job as often as many do who do not know of each other.
async fn ask_at_once(nodes: &[&TestApp], tenant: &Tenant, job: &Once) {
    let asked = (0..50).map(|n| ask(nodes[n % nodes.len()], tenant, std::slice::from_ref(job)));
    join_all(asked).await;
}

#[tokio::test]
async fn asking_while_one_waits_makes_no_other_and_once_it_has_begun_one_more() {
    let (app, acme) = acme().await;
    let other = beside(&app).await;
    let (here, there) = (Operator(&app, &acme), Operator(&other, &acme));
    let job = Once::new("a", "gate");
    hold(&here).await;
    ask_at_once(&[&app, &other], &acme, &job).await;
    assert_eq!(count(&app, JOBS).await, 1);
    there.resume("fixture.once").await;
    let watch = Watch::of(&acme);
    watch.gate.reached().await;
    hold(&there).await;
    ask_at_once(&[&app, &other], &acme, &job).await;
    assert_eq!((count(&app, ACTIVE).await, count(&app, JOBS).await), (1, 2));
    here.resume("fixture.once").await;
    watch.gate.reached().await;
    (0..2).for_each(|_| watch.gate.open());
    counts(&app, JOBS, 0).await;
    assert_eq!(Log::of(&acme).names(), ["a", "a"]);
}

#[tokio::test]
async fn asking_while_one_is_put_off_makes_no_other() {
    let (app, acme) = acme().await;
    ask_later(&app, &acme, &Once::new("a", ""), HOUR).await;
    ask_at_once(&[&app], &acme, &Once::new("a", "")).await;
    assert_eq!(count(&app, JOBS).await, 1);
    assert!(Log::of(&acme).names().is_empty());
}

#[tokio::test]
async fn two_kinds_two_keys_and_two_tenants_do_not_disturb_each_other() {
    let (app, acme) = acme().await;
    let other = app.tenant("Other").await;
    for tenant in [&acme, &other] {
        for key in ["a", "b"] {
            ask_later(&app, tenant, &Once::new(key, ""), HOUR).await;
            ask_later(&app, tenant, &OnceToo(Once::new(key, "")), HOUR).await;
        }
    }
    assert_eq!(count(&app, JOBS).await, 8);
}

#[tokio::test]
async fn one_that_fails_and_is_asked_for_again_and_again_does_not_pile_up() {
    let (app, acme) = acme().await;
    let log = Log::of(&acme);
    for round in 1..=10 {
        ask(&app, &acme, &[Once::new("a", "fail")]).await;
        let waits = "select count(*) from core.jobs where state = 'delayed'";
        counts(&app, waits, 1).await;
        counts(&app, JOBS, 1).await;
        assert!(log.names().len() <= round, "each is tried once");
    }
    assert_eq!(count(&app, "select count(*) from core.jobs_dead").await, 0);
}

#[tokio::test]
async fn a_transaction_that_comes_to_nothing_leaves_nothing_and_is_in_nobodys_way() {
    let (app, acme) = acme().await;
    let mut tx = app.kernel().tenant_tx(acme.id).await.unwrap();
    tx.enqueue(&Once::new("a", "")).unwrap();
    drop(tx);
    let mut tx = app.kernel().tenant_tx(acme.id).await.unwrap();
    tx.enqueue(&Once::new("a", "")).unwrap();
    // Looked for at COMMIT, after the job was written.
    sqlx::query(
        "insert into fixture.things (tenant_id, id, name, parent_id, created_at)
         values ($1, gen_random_uuid(), 'x', gen_random_uuid(), clock_timestamp())",
    )
    .bind(*acme.id)
    .execute(tx.db())
    .await
    .unwrap();
    tx.commit().await.unwrap_err();
    assert_eq!(count(&app, JOBS).await, 0);
    ask(&app, &acme, &[Once::new("a", "")]).await;
    counts(&app, JOBS, 0).await;
    assert_eq!(Log::of(&acme).names(), ["a"]);
}
