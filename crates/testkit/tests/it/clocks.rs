//! Sandbox tenants' own clocks.

use std::time::Duration;

use freehold_kernel::directory::{self, NewTenant, TenantKind};
use freehold_kernel::{SystemRole, Timestamp};
use freehold_testkit::{Client, Tenant, TestApp};
use serde_json::json;

use crate::stream::{self, Asked, count, counts, enqueue, names, within};
use crate::work::Act;

const CLOCK: &str = "/api/v1/things/stream/clock";
const WAITING: &str =
    "select count(*) from core.jobs where run_at = 'infinity' and state = 'delayed'";

async fn sandbox(app: &TestApp, slug: &str) -> Tenant {
    let person = app.tenant(&format!("Maker of {slug}")).await;
    let mut tx = app.kernel().account_tx().await.unwrap();
    let new = NewTenant { name: slug, slug, kind: TenantKind::Sandbox };
    let id = directory::create_tenant(&mut tx, &new).await.unwrap();
    directory::add_member(&mut tx, id, person.owner, SystemRole::Owner).await.unwrap();
    tx.commit().await.unwrap();
    Tenant { id, slug: slug.to_owned(), owner: person.owner }
}

async fn shows(client: &Client, to: Timestamp) {
    within(Duration::from_secs(3), "the clock shows what it was set to", async || {
        (client.get(CLOCK).await.json()["to"] == json!(to)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_repeated_job_waits_for_the_tenants_clock_and_not_for_time() {
    let app = TestApp::start([stream::module()]).await;
    let (acme, live) = (sandbox(&app, "sandbox").await, app.tenant("Live").await);
    let owner = app.principal(&acme).everything();
    let start = app.clock().now() + Duration::from_secs(3600);
    owner.post(CLOCK, json!({"to": start, "frozen": true})).await.expect(204);
    shows(&owner, start).await;
    enqueue(&app, &acme, &Act::new("mine", "again")).await;
    enqueue(&app, &live, &Act::new("theirs", "again")).await;
    counts(&app, "select count(*) from core.jobs where run_at = 'infinity' and attempts = 1", 1)
        .await;
    counts(
        &app,
        "select count(*) from core.jobs where run_at < 'infinity' and virtual_at is null",
        1,
    )
    .await;
    // Real time passes, by the process's clock as well, and changes nothing.
    app.clock().advance(Duration::from_secs(60)).await;
    shows(&owner, start).await;
    let later = start + Duration::from_secs(4);
    owner.post(CLOCK, json!({"to": later, "frozen": true})).await.expect(204);
    shows(&owner, later).await;
    assert_eq!(count(&app, WAITING).await, 1);
    assert!(names(&app).await.is_empty());
    let due = start + Duration::from_secs(5);
    owner.post(CLOCK, json!({"to": due, "frozen": true})).await.expect(204);
    within(Duration::from_secs(3), "it runs", async || {
        (names(&app).await == ["mine"]).then_some(())
    })
    .await;
    counts(
        &app,
        "select count(*) from core.jobs where state = 'delayed' and virtual_at is null",
        1,
    )
    .await;
    let theirs = app.principal(&live).everything().get(CLOCK).await;
    assert_ne!(theirs.json()["to"], json!(due), "another tenant's time is its own");
}

#[tokio::test]
async fn moving_a_clock_releases_jobs_in_the_order_of_its_time_on_every_node() {
    let app = TestApp::start([stream::module()]).await;
    let other = TestApp::with([stream::module()]).beside(&app).start().await;
    let acme = sandbox(&app, "sandbox").await;
    let (here, there) = (app.principal(&acme).everything(), other.principal(&acme).everything());
    let start = app.clock().now() + Duration::from_secs(3600);
    here.post(CLOCK, json!({"to": start, "frozen": true})).await.expect(204);
    shows(&there, start).await;
    for (name, after_s) in [("last", 300), ("first", 100), ("second", 200)] {
        let mode = String::new();
        let asked = Asked { name: name.into(), mode, refused: false, after_s };
        there.post("/api/v1/things/stream/work", asked).await.expect(204);
    }
    assert_eq!(count(&app, WAITING).await, 3);
    let to = start + Duration::from_secs(250);
    here.post(CLOCK, json!({"to": to, "frozen": true})).await.expect(204);
    counts(&app, "select count(*) from fixture.things", 2).await;
    assert_eq!(names(&app).await, ["first", "second"]);
    assert_eq!(count(&app, WAITING).await, 1);
}

#[tokio::test]
async fn a_clock_goes_forward_only_and_runs_on_unless_it_is_frozen() {
    let app = TestApp::start([stream::module()]).await;
    let owner = app.principal(&sandbox(&app, "sandbox").await).everything();
    let set = async |to: Timestamp, frozen: bool| {
        owner.post(CLOCK, json!({"to": to, "frozen": frozen})).await
    };
    let now = app.clock().now();
    set(now - Duration::from_secs(60), true).await.problem("core.invalid", 422);
    let ahead = now + Duration::from_secs(86_400);
    set(ahead, true).await.expect(204);
    // Whatever this node remembers by now.
    set(ahead - Duration::from_secs(1), true).await.problem("core.invalid", 422);
    set(ahead, false).await.expect(204);
    app.clock().advance(Duration::from_secs(60)).await;
    set(ahead + Duration::from_secs(30), true).await.problem("core.invalid", 422);
    let further = ahead + Duration::from_secs(120);
    set(further, true).await.expect(204);
    shows(&owner, further).await;
    set(further, true).await.expect(204);
}

#[tokio::test]
async fn a_live_tenant_has_no_clock_to_set() {
    let app = TestApp::start([stream::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let body = json!({"to": app.clock().now() + Duration::from_secs(60), "frozen": true});
    owner.post(CLOCK, body).await.problem("core.not_a_sandbox", 409);
}
