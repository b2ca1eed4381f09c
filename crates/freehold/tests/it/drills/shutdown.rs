//! A node that is asked to stop: what it had begun it ends, and what it cannot end it gives back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::installation::{Installation, addresses, http, register};
use super::until;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_under_way_are_answered_and_no_new_ones_taken() {
    Box::pin(stop_with_requests_under_way(Duration::from_secs(2))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: make check-long"]
async fn long_a_request_of_twenty_seconds_is_answered_all_the_same() {
    Box::pin(stop_with_requests_under_way(Duration::from_secs(20))).await;
}

async fn stop_with_requests_under_way(slow: Duration) {
    let installation = Installation::new();
    let sql = installation.sql();
    // Else a lock is not waited for longer than 10 s.
    let patiently = "alter role freehold_app set lock_timeout = 0";
    sqlx::query(patiently).execute(&sql).await.unwrap();
    let [address] = addresses();
    let mut node = installation.serve(address, &[]);
    let token = register(address, "ada").await;

    // Three that are slow: two wait for a row, one for the rest of its own body.
    let mut lock = installation.connection().await;
    let take = "begin; select * from core.tenants for update";
    sqlx::raw_sql(take).execute(&mut lock).await.unwrap();
    let waiting = ["One", "Two"].map(|name| {
        let url = format!("http://{address}/api/v1/tenant");
        let request = http().request(Method::PATCH, url).bearer_auth(&token);
        tokio::spawn(request.json(&json!({"name": name})).send())
    });
    let (body, mut half) = (json!({"name": "half"}).to_string(), connect(address));
    let head = format!(
        "POST /api/v1/api-keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    half.write_all(head.as_bytes()).unwrap();
    half.write_all(&body.as_bytes()[..4]).unwrap();
    until("both to wait for the row", SOON, async || {
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&sql).await.unwrap() == 2
    })
    .await;

    node.ask_to_stop();
    until("new connections to be refused", SOON, async || TcpStream::connect(address).is_err())
        .await;
    tokio::time::sleep(slow).await;
    assert!(TcpStream::connect(address).is_err());
    half.write_all(&body.as_bytes()[4..]).unwrap();
    sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();
    for request in waiting {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["connection"], "close");
    }
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    node.wait_for_a_good_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_a_balancer_says_that_it_goes_before_it_goes() {
    let installation = Installation::new();
    let [address] = addresses();
    let mut node = installation.serve(address, &[("FREEHOLD_LIMIT_DRAIN_SECONDS", "2")]);
    let token = register(address, "ada").await;
    let http = http();
    let get = async |path: &str| {
        http.get(format!("http://{address}{path}")).bearer_auth(&token).send().await
    };
    assert_eq!(get("/api/v1/tenant").await.unwrap().status(), StatusCode::OK);
    let asked_at = Instant::now();
    node.ask_to_stop();
    until("it to say so", SOON, async || {
        get("/health/ready").await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let answer = get("/api/v1/tenant").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "it still answers");
    assert_eq!(answer.headers()["connection"], "close", "and lets go of connections");
    until("it to go", SOON, async || TcpStream::connect(address).is_err()).await;
    assert!(asked_at.elapsed() >= Duration::from_secs(2), "not before the balancer may know");
    node.wait_for_a_good_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_cannot_end_in_time_others_may_do_at_once() {
    let installation = Installation::new();
    let [address] = addresses();
    let node = installation.up(address, &[("FREEHOLD_LIMIT_SHUTDOWN_SECONDS", "1")]);
    let token = register(address, "ada").await;
    let receiver = MockServer::start().await;
    let slowly = ResponseTemplate::new(200).set_delay(Duration::from_secs(12));
    Mock::given(method("POST")).respond_with(slowly).mount(&receiver).await;
    let post = async |path: &str, body: Value| {
        let url = format!("http://{address}/api/v1{path}");
        let answer = http().post(url).bearer_auth(&token).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    };
    post("/webhooks", json!({"url": receiver.uri(), "events": ["order.*"]})).await;
    post("/events", json!({"type": "order.paid", "data": {}})).await;
    until("the receiver to be asked", SOON, async || {
        !receiver.received_requests().await.unwrap().is_empty()
    })
    .await;
    let sql = installation.sql();
    let held = "select count(*) from core.jobs where state = 'active'";
    let held = async || sqlx::query_scalar::<_, i64>(held).fetch_one(&sql).await.unwrap();
    assert_eq!(held().await, 1, "the delivery is under way");

    let asked_at = Instant::now();
    node.stop();
    assert!(asked_at.elapsed() < Duration::from_secs(8), "{:?}", asked_at.elapsed());
    assert_eq!(held().await, 0, "its lease was given back");
    let due = "select count(*) from core.jobs where run_at <= clock_timestamp() and attempts = 0";
    let due: i64 = sqlx::query_scalar(due).fetch_one(&sql).await.unwrap();
    assert_eq!(due, 1, "the job is there for others, and this try does not count");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream
}
