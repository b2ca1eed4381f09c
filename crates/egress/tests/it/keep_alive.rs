//! Connections are kept, shared by clones, and counted.

use freehold_egress::{HeaderValue, Request};
use http::header::USER_AGENT;
use tokio::task::JoinSet;

use crate::receiver::{OK, Receiver, development};

#[tokio::test]
async fn a_hundred_requests_use_one_connection() {
    let receiver = Receiver::saying(OK).await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    for _ in 0..100 {
        let answer = egress.clone().send(Request::post(target.clone(), "{}")).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    }
    assert_eq!((receiver.connections(), receiver.requests()), (1, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_at_once_all_get_their_own_answer() {
    let receiver = Receiver::talking(|mut peer| async move {
        while let Some(request) = peer.hear().await? {
            let body = request.split_once("\r\n\r\n").unwrap().1;
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            peer.say(answer.as_bytes()).await?;
        }
        Ok(())
    })
    .await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    let mut workers = JoinSet::new();
    for worker in 0..64 {
        let (egress, target) = (egress.clone(), target.clone());
        workers.spawn(async move {
            for round in 0..20 {
                let body = format!("worker {worker} round {round}");
                let answer = egress.send(Request::post(target.clone(), body.clone())).await;
                assert_eq!(answer.unwrap().body, body);
            }
        });
    }
    workers.join_all().await;
    assert_eq!(receiver.requests(), 64 * 20);
    assert!(receiver.connections() < 64 * 20 / 2, "{}", receiver.connections());
}

#[tokio::test]
async fn the_request_on_the_wire_is_what_was_asked_for() {
    let receiver = Receiver::talking(|mut peer| async move {
        let request = peer.hear().await?.unwrap();
        let length = request.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{request}");
        peer.say(answer.as_bytes()).await
    })
    .await;
    let egress = development();
    let target =
        egress.check_url(&format!("{}?a=b c", receiver.url()).replace(' ', "%20")).unwrap();
    let (name, value) = freehold_egress::check_header("X-Customer", "a value").unwrap();
    let agent = HeaderValue::from_static("Acme/1");
    let request = Request::post(target, "{}").header(name, value).header(USER_AGENT, agent);
    let answer = egress.send(request).await.unwrap();
    let mut lines: Vec<_> = std::str::from_utf8(&answer.body).unwrap().split("\r\n").collect();
    lines[1..5].sort_unstable();
    let host = format!("host: {}", receiver.address);
    assert_eq!(
        lines,
        [
            "POST /hook?a=b%20c HTTP/1.1",
            "content-length: 2",
            &host,
            "user-agent: Acme/1",
            "x-customer: a value",
            "",
            "{}"
        ]
    );
}
