//! Nodes whose clocks are five minutes wrong, in either direction, beside one that is right.

use std::time::{Duration, Instant};

use freehold_testkit::{Answer, TestApp};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::until;
use crate::life::{app, modules, register};

const WRONG: Duration = Duration::from_secs(5 * 60);
const SOON: Duration = Duration::from_secs(10);

/// A node that is right, one that is ahead, one that is behind.
async fn nodes() -> [TestApp; 3] {
    let right = app().await;
    let beside = |by: fn(&freehold_kernel::Clock)| {
        TestApp::with(modules()).beside(&right).config(move |config| {
            config.clock = freehold_kernel::Clock::default();
            by(&config.clock);
        })
    };
    let ahead = beside(|clock| clock.advance(WRONG)).start().await;
    let behind = beside(|clock| clock.set_back(WRONG)).start().await;
    [right, ahead, behind]
}

#[tokio::test]
async fn nobody_is_locked_out_by_a_clock_that_is_wrong() {
    let nodes = nodes().await;
    register(&nodes[0], "Acme").await;
    for at in &nodes {
        let signed_in = sign_in(at).await;
        at.bearer(signed_in.text_of("accessToken")).get("/api/v1/tenant").await.expect(200);
        // Where the token has ended already, the session has not: a new one is as good.
        let mut refresh = signed_in.text_of("refreshToken").to_owned();
        for other in &nodes {
            let body = json!({"refreshToken": refresh});
            let fresh = other.anonymous().post("/api/v1/auth/refresh", body).await;
            let token = fresh.expect(200).text_of("accessToken").to_owned();
            other.bearer(&token).get("/api/v1/tenant").await.expect(200);
            fresh.text_of("refreshToken").clone_into(&mut refresh);
        }
    }
    let [right, ahead, behind] = &nodes;
    for (from, to) in
        [(right, ahead), (right, behind), (ahead, right), (ahead, behind), (behind, right)]
    {
        let token = sign_in(from).await.text_of("accessToken").to_owned();
        to.bearer(&token).get("/api/v1/tenant").await.expect(200);
    }
}

#[tokio::test]
async fn nothing_is_done_twice_because_clocks_disagree() {
    let nodes = nodes().await;
    let owner = register(&nodes[0], "Acme").await.text_of("accessToken").to_owned();
    let receiver = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
    let hook = json!({"url": receiver.uri(), "events": ["order.*"]});
    let hook = nodes[0].bearer(&owner).post("/api/v1/webhooks", hook).await;
    let hook = hook.expect(201).text_of("id").to_owned();

    let mut first = None;
    for node in &nodes {
        let token = sign_in(node).await.text_of("accessToken").to_owned();
        let event = json!({"type": "order.paid", "id": "order-1", "data": {}});
        let sent = node.bearer(&token).post("/api/v1/events", event).await;
        let key = json!({"name": "deploy"});
        let made = node.bearer(&token).post("/api/v1/api-keys", key);
        let made = made.header("idempotency-key", "the only one").await;
        let ids = [sent.expect(202).json()["id"].clone(), made.expect(201).json()["id"].clone()];
        assert_eq!(first.get_or_insert(ids.clone()), &ids, "the same event and the same key");
    }
    let log = format!("/api/v1/webhooks/{hook}/deliveries");
    let deliveries = async || {
        let log = nodes[0].bearer(&owner).get(&log).await;
        log.expect(200).json()["data"].as_array().unwrap().clone()
    };
    until("the delivery", SOON, async || {
        deliveries().await.first().is_some_and(|delivery| delivery["status"] == "delivered")
    })
    .await;
    let delivered = deliveries().await;
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["attempts"], 1);
    assert_eq!(receiver.received_requests().await.unwrap().len(), 1, "it was sent once");
}

/// Two nodes that say nothing more, one of them dead for the database, each with a job of a kind that
/// nobody knows.
const HELD: &str = "
with nodes as (
  insert into core.nodes (id, name, release, process, lease_until)
  select gen_random_uuid(), name, '0', '', clock_timestamp() + lease
  from (values ('drill.lives', interval '4 minutes'), ('drill.is_over', interval '-1 second'))
    as held (name, lease)
  returning id, name
)
insert into core.jobs (id, lane, kind, tenant_id, queue, payload, run_at, state, claim, node)
select gen_random_uuid(), 1, name, gen_random_uuid(), name, '{}', clock_timestamp(), 'active',
  gen_random_uuid(), id
from nodes";

#[tokio::test]
async fn leases_and_schedules_keep_to_the_clock_of_the_database() {
    let [right, _ahead, _behind] = nodes().await;
    let sql = right.sql();
    sqlx::query(HELD).execute(sql).await.unwrap();
    sqlx::query("update core.schedules set next_at = clock_timestamp()")
        .execute(sql)
        .await
        .unwrap();
    let taken_back = "select kind from core.jobs where state = 'waiting'";
    let taken_back = async || {
        let taken_back = sqlx::query_scalar::<_, String>(taken_back);
        taken_back.fetch_all(sql).await.unwrap()
    };
    until("the lease that is over to end", SOON, async || !taken_back().await.is_empty()).await;
    let due = "select count(*) from core.schedules where next_at <= clock_timestamp()";
    until("every schedule to tick", SOON, async || {
        sqlx::query_scalar::<_, i64>(due).fetch_one(sql).await.unwrap() == 0
    })
    .await;
    let set: Vec<(String, f64)> = sqlx::query_as(
        "select name, extract(epoch from next_at - clock_timestamp())::float8 from core.schedules",
    )
    .fetch_all(sql)
    .await
    .unwrap();
    // Let every node look twice more.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(taken_back().await, ["drill.is_over"], "and no other");
    for (name, seconds) in set {
        assert!(seconds <= 86_400.0, "{name} is due in {seconds} s: longer than any waits");
    }
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_says_so_and_serves() {
    let [right, ahead, behind] = nodes().await;
    for (node, expected) in [(&right, "ok"), (&ahead, "degraded"), (&behind, "degraded")] {
        let deadline = Instant::now() + SOON;
        loop {
            let report: Value = node.anonymous().get("/health").await.expect(200).json().clone();
            if report["checks"]["clock"]["status"] == expected {
                break;
            }
            assert!(Instant::now() < deadline, "{report}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn sign_in(at: &TestApp) -> Answer {
    let login = json!({"email": "acme@example.org", "password": "tarn-Kelp7-obverse"});
    let answer = at.anonymous().post("/api/v1/auth/login", login).await;
    answer.expect(200);
    answer
}
