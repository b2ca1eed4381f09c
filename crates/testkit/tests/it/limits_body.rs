//! Bodies over their bounds: the answer comes, and the connection goes on where it can.

use std::time::{Duration, Instant};

use freehold_kernel::Quota;
use freehold_testkit::{Client, RawConnection, TestApp};
use serde_json::json;

use crate::fixture;

const THINGS: &str = "/api/v1/things";
const MIB: usize = 1024 * 1024;

/// A new thing of this name, in a body of this size.
fn padded(name: &str, size: usize) -> Vec<u8> {
    let mut body = json!({"name": name}).to_string().into_bytes();
    body.resize(size, b' ');
    body
}

async fn post(connection: &mut RawConnection, owner: &Client, body: &[u8]) -> (u16, String) {
    connection.send_head("POST", THINGS, owner.token(), body.len()).await;
    connection.send(body).await;
    connection.answer().await
}

/// The connection still serves the next request.
async fn goes_on(connection: &mut RawConnection, owner: &Client) {
    connection.send_head("GET", THINGS, owner.token(), 0).await;
    let (status, answer) = connection.answer().await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_body_of_1_mib_is_taken_and_one_byte_more_is_refused_on_a_connection_that_goes_on() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut connection = app.raw().connect().await;
    let (status, answer) = post(&mut connection, &owner, &padded("large", MIB)).await;
    assert_eq!(status, 201, "{answer}");
    for size in [MIB + 1, 5 * MIB] {
        let (status, answer) = post(&mut connection, &owner, &padded("larger", size)).await;
        assert_eq!(status, 413, "{answer}");
        assert!(answer.contains("core.too_large"), "{answer}");
        goes_on(&mut connection, &owner).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_has_the_same_bound() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut connection = app.raw().connect().await;
    let head = format!(
        "POST {THINGS} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        owner.token()
    );
    connection.send(&head).await;
    let chunk = [format!("{MIB:x}\r\n").into_bytes(), padded("a", MIB), b"\r\n".to_vec()].concat();
    for _ in 0..2 {
        connection.send(&chunk).await;
    }
    connection.send("0\r\n\r\n").await;
    let (status, answer) = connection.answer().await;
    assert_eq!(status, 413, "{answer}");
    goes_on(&mut connection, &owner).await;
}

#[tokio::test]
async fn a_body_without_end_is_answered_and_then_the_connection_is_closed() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut connection = app.raw().connect().await;
    connection.send_head("POST", THINGS, owner.token(), 100 * MIB).await;
    let begun = Instant::now();
    // One MiB that could have been a body, eight that are thrown away, and a last read's worth.
    connection.send(padded("endless", 9 * MIB + 512 * 1024)).await;
    let (status, answer) = connection.answer().await;
    assert_eq!(status, 413, "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5), "eight MiB are enough to see");
    assert_eq!(connection.rest().await, "", "after the answer comes the end");
}

#[tokio::test]
async fn a_body_that_is_too_large_and_stalls_is_answered_after_five_seconds() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut connection = app.raw().connect().await;
    let begun = Instant::now();
    connection.send_head("POST", THINGS, owner.token(), 2 * MIB).await;
    connection.send(padded("stalled", MIB + 1)).await;
    let (status, answer) = connection.answer().await;
    assert_eq!(status, 413, "{answer}");
    let waited = begun.elapsed();
    assert!((5..15).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(connection.rest().await, "");
}

#[tokio::test]
async fn a_body_that_stalls_is_answered_408_and_then_the_connection_is_closed() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.limits.body_timeout = Duration::from_millis(50))
        .start()
        .await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut connection = app.raw().connect().await;
    connection.send_head("POST", THINGS, owner.token(), 100).await;
    connection.send("{").await;
    let (status, answer) = connection.answer().await;
    assert_eq!(status, 408, "{answer}");
    assert!(answer.contains("core.too_slow"), "{answer}");
    assert_eq!(connection.rest().await, "");
    owner.get(THINGS).await.expect(200);
}

#[tokio::test]
async fn whoever_is_refused_by_the_head_alone_may_send_the_body_and_go_on() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let body = padded("unread", MIB);
    let mut connection = app.raw().connect().await;
    for (method, path, token, wanted) in [
        ("POST", THINGS, "nobody", 401),
        ("POST", "/api/v1/nowhere", owner.token(), 404),
        ("PUT", THINGS, owner.token(), 405),
    ] {
        connection.send_head(method, path, token, body.len()).await;
        connection.send(&body).await;
        let (status, answer) = connection.answer().await;
        assert_eq!(status, wanted, "{method} {path}: {answer}");
        goes_on(&mut connection, &owner).await;
    }
}

#[tokio::test]
async fn whoever_asks_before_sending_a_body_is_refused_without_sending_it() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.limits.per_ip = Quota::per_minute(1, 1))
        .start()
        .await;
    let mut connection = app.raw().connect().await;
    let begun = Instant::now();
    for wanted in ["401", "429"] {
        connection
            .send(format!(
                "POST {THINGS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: {MIB}\r\nexpect: 100-continue\r\n\r\n"
            ))
            .await;
        let (status, answer) = connection.answer().await;
        assert_eq!(status.to_string(), wanted, "{answer}");
        connection = app.raw().connect().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waited for the body");
}
