//! Receivers that take their time, or ours.

use std::future::pending;
use std::time::{Duration, Instant};

use freehold_egress::{Egress, Failure, Limits, Phase, Request};

use crate::receiver::{Receiver, development, hurried, with_limits};

/// Sends once; a failure must be a timeout, and must not be much later than its limit.
async fn phase_of_timeout(egress: &Egress, receiver: &Receiver) -> Phase {
    let target = egress.check_url(&receiver.url()).unwrap();
    let started = Instant::now();
    let failure = egress.send(Request::post(target, "{}")).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let Failure::Timeout { phase, .. } = failure else { panic!("{failure:?}") };
    assert!(failure.may_have_arrived());
    assert!(failure.to_string().contains("within 400 ms"), "{failure}");
    phase
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_the_total_time_and_loses_the_connection() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.hear().await?; // ends when the client hangs up
        Ok(())
    })
    .await;
    assert_eq!(phase_of_timeout(&with_limits(hurried()), &receiver).await, Phase::Head);
    receiver.hung_up().await;
}

#[tokio::test]
async fn a_receiver_that_trickles_its_body_costs_the_total_time() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
        loop {
            peer.say(b".").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(phase_of_timeout(&with_limits(hurried()), &receiver).await, Phase::Body);
    receiver.hung_up().await;
}

#[tokio::test]
async fn a_receiver_that_trickles_its_headers_costs_the_total_time() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.say(b"HTTP/1.1 200 OK\r\nx: ").await?;
        loop {
            peer.say(b".").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(phase_of_timeout(&with_limits(hurried()), &receiver).await, Phase::Head);
    receiver.hung_up().await;
}

#[tokio::test]
async fn a_receiver_that_says_continue_for_ever_costs_the_total_time() {
    let receiver = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        loop {
            peer.say(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(phase_of_timeout(&with_limits(hurried()), &receiver).await, Phase::Head);
    receiver.hung_up().await;
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_costs_the_time_to_connect() {
    let receiver = Receiver::talking(|peer| async move {
        let _open = peer;
        pending().await
    })
    .await;
    let limits = Limits { connect: Duration::from_millis(200), ..Limits::default() };
    let egress = with_limits(limits);
    let target = egress.check_url(&receiver.url().replace("http:", "https:")).unwrap();
    let failure = egress.send(Request::post(target, "{}")).await.unwrap_err();
    assert!(matches!(failure, Failure::Timeout { phase: Phase::Tls, .. }), "{failure:?}");
    assert!(!failure.may_have_arrived());
}

#[tokio::test]
async fn a_gigabyte_is_read_up_to_the_cap_and_the_connection_dropped() {
    for head in ["content-length: 1073741824", "transfer-encoding: chunked", "x: until closed"] {
        let receiver = Receiver::talking(move |mut peer| async move {
            peer.hear().await?;
            peer.say(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes()).await?;
            // 16 KiB in one valid chunk; where chunks mean nothing it is a body like any other.
            let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            for _ in 0..65_536 {
                peer.say(piece.as_bytes()).await?;
            }
            Ok(())
        })
        .await;
        let egress = development();
        let target = egress.check_url(&receiver.url()).unwrap();
        let answer = egress.send(Request::post(target, "{}")).await.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (64 * 1024, true), "{head}");
        receiver.hung_up().await;
        // What the kernel's two socket buffers hold, and no more.
        assert!(receiver.bytes_said() < 32 << 20, "{head}: {}", receiver.bytes_said());
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_whole() {
    let body = "x".repeat(64 * 1024);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let receiver = Receiver::saying(answer).await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    for _ in 0..2 {
        let answer = egress.send(Request::post(target.clone(), "{}")).await.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (64 * 1024, false));
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn one_request_may_have_limits_of_its_own() {
    let receiver = Receiver::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    let request = Request { response_body_bytes: Some(2), ..Request::post(target.clone(), "") };
    let answer = egress.send(request).await.unwrap();
    assert_eq!((&answer.body[..], answer.truncated), (&b"he"[..], true));
    let silent = Receiver::talking(|mut peer| async move {
        peer.hear().await?;
        peer.hear().await.map(drop)
    })
    .await;
    let target = egress.check_url(&silent.url()).unwrap();
    let limit = Duration::from_millis(50);
    let failure = egress.send(Request { total: Some(limit), ..Request::post(target, "") }).await;
    let failure = failure.unwrap_err();
    assert!(failure.to_string().contains("within 50 ms; answer first"), "{failure}");
}
