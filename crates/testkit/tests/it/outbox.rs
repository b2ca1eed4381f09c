//! Events reach their subscribers: soon, each once, whatever fails.

use std::time::{Duration, Instant};

use freehold_testkit::TestApp;
use futures_util::future::join_all;
use serde_json::json;

use crate::stream::{self, Asked, count, counts, listeners, run};

const THINGS: &str = "/api/v1/things";
const SEEN: &str = "select count(*) from fixture.seen where subscriber = 'fixture'";
const WAITING: &str = "select count(*) from core.outbox";

#[tokio::test]
async fn an_event_reaches_its_subscriber_on_the_same_node_at_once() {
    let app = TestApp::start([stream::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut waits = Vec::new();
    for number in 1..=9 {
        owner.post(THINGS, json!({"name": format!("thing {number}")})).await.expect(201);
        let answered = Instant::now();
        counts(&app, SEEN, number).await;
        waits.push(answered.elapsed());
    }
    waits.sort_unstable();
    assert!(waits[4] < Duration::from_millis(50), "{waits:?}");
    counts(&app, WAITING, 0).await;
}

#[tokio::test]
async fn two_nodes_hand_over_a_thousand_events_once_each() {
    let app = TestApp::start([stream::module()]).await;
    let other = TestApp::with([stream::module()]).beside(&app).start().await;
    let acme = app.tenant("Acme").await;
    join_all((0..20).map(async |task| {
        let node = if task % 2 == 0 { &app } else { &other };
        let owner = node.principal(&acme).everything();
        for number in 0..50 {
            let body = json!({"name": format!("thing {task} {number}")});
            owner.post(THINGS, body).await.expect(201);
        }
    }))
    .await;
    counts(&app, WAITING, 0).await;
    counts(&app, SEEN, 1000).await;
    assert_eq!(count(&app, "select count(distinct event_id) from fixture.seen").await, 1000);
}

#[tokio::test]
async fn a_request_that_is_rolled_back_leaves_no_event_and_no_job() {
    let app = TestApp::start([stream::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut asked = Asked { name: "x".into(), mode: String::new(), refused: true, after_s: 60 };
    let work = "/api/v1/things/stream/work";
    owner.post(work, &asked).await.problem("fixture.refused", 409);
    assert_eq!(count(&app, "select count(*) from core.jobs").await, 0);
    assert_eq!(count(&app, WAITING).await + count(&app, SEEN).await, 0);
    asked.refused = false;
    owner.post(work, &asked).await.expect(204);
    assert_eq!(count(&app, "select count(*) from core.jobs").await, 1);
    counts(&app, SEEN, 1).await;
}

#[tokio::test]
async fn a_subscriber_that_fails_on_some_events_handles_all_others() {
    let app = TestApp::start([stream::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    // One is refused, one panics, one fails only at COMMIT.
    for name in ["first", "poison", "panic", "late poison", "last"] {
        owner.post(THINGS, json!({"name": name})).await.expect(201);
    }
    counts(&app, SEEN, 2).await;
    counts(&app, "select count(*) from core.outbox where failures > 0", 3).await;
    // Its fourth failure is waited for, which by itself would take a while; then the fifth.
    run(&app, "update core.outbox set failures = 3, due_at = clock_timestamp()").await;
    counts(&app, "select count(*) from core.outbox where failures = 4", 3).await;
    assert_eq!(count(&app, "select count(*) from core.outbox_dead").await, 0);
    run(&app, "update core.outbox set due_at = clock_timestamp()").await;
    counts(&app, "select count(*) from core.outbox_dead", 3).await;
    assert_eq!(count(&app, WAITING).await, 0);
    assert_eq!(count(&app, SEEN).await, 2);
    let errors: Vec<String> =
        sqlx::query_scalar("select error from core.outbox_dead order by event_id")
            .fetch_all(app.sql())
            .await
            .unwrap();
    for (error, words) in
        errors.iter().zip(["a poison event", "a subscriber panics", "seen_missing_fkey"])
    {
        assert!(error.contains(words), "{error} does not say {words}");
    }
    owner.post(THINGS, json!({"name": "afterwards"})).await.expect(201);
    counts(&app, SEEN, 3).await;
}

#[tokio::test]
async fn a_subscriber_gets_what_it_is_interested_in() {
    let [everything, freehold] = listeners();
    let app = TestApp::start([stream::module(), everything, freehold]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let made = owner.post(THINGS, json!({"name": "x"})).await;
    owner.delete(&format!("{THINGS}/{}", made.expect(201).text_of("id"))).await.expect(204);
    let word = json!({"place": "", "text": "order.paid"});
    owner.post("/api/v1/things/stream/custom", word).await.expect(204);
    counts(&app, WAITING, 0).await;
    let seen: Vec<String> = sqlx::query_scalar(
        "select subscriber || ' ' || type from fixture.seen where type <> 'tenant.created'
         order by 1",
    )
    .fetch_all(app.sql())
    .await
    .unwrap();
    assert_eq!(
        seen,
        [
            "everything order.paid",
            "everything thing.created",
            "everything thing.deleted",
            "fixture thing.created",
            "freehold thing.created",
            "freehold thing.deleted",
        ]
    );
    let custom = "select count(*) from core.events where source = 'custom' and type = 'order.paid'";
    assert_eq!(count(&app, custom).await, 1);
}
