//! Redirects: an answer like any other, unless a GET asks to follow, and then every hop is checked.

use freehold_egress::{Failure, HeaderValue, Method, Network, Refusal, Request};
use http::header::{ACCEPT, AUTHORIZATION};

use crate::name_server::NameServer;
use crate::receiver::{OK, Receiver, development};

fn to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_redirect_to_metadata_is_an_answer_and_is_not_followed() {
    let receiver = Receiver::saying(to("http://169.254.169.254/latest/meta-data/")).await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    for method in [Method::POST, Method::GET] {
        let answer = egress.send(Request::new(method, target.clone())).await.unwrap();
        assert_eq!(answer.status, 302);
        assert!(!answer.is_success());
    }
    // A POST does not follow even if it asks to.
    let request = Request { redirects: 5, ..Request::post(target.clone(), "{}") };
    assert_eq!(egress.send(request).await.unwrap().status, 302);
    // A GET that asks to is refused at the hop.
    let request = Request { redirects: 5, ..Request::new(Method::GET, target) };
    let failure = egress.send(request).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Refused(Refusal::Address(Network::Metadata))),
        "{failure:?}"
    );
}

#[tokio::test]
async fn every_hop_is_checked_like_the_first_url() {
    let egress = development();
    for (location, refusal) in [
        ("ftp://example.com/", Refusal::Scheme),
        ("http://user:pass@example.com/", Refusal::Userinfo),
        ("//10.0.0.1/", Refusal::Address(Network::Private)),
        ("http://0x0a000001/", Refusal::Address(Network::Private)),
        ("https://db.internal/", Refusal::InnerName),
        ("https://example.com:25/", Refusal::Port(25)),
    ] {
        let receiver = Receiver::saying(to(location)).await;
        let target = egress.check_url(&receiver.url()).unwrap();
        let request = Request { redirects: 1, ..Request::new(Method::GET, target) };
        match egress.send(request).await {
            Err(Failure::Refused(found)) => assert_eq!(found, refusal, "{location}"),
            other => panic!("{location}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_loop_ends_after_the_hops_that_were_asked_for() {
    let receiver = Receiver::saying(to("/hook#top")).await;
    let egress = development();
    let target = egress.check_url(&receiver.url()).unwrap();
    let request = Request { redirects: 3, ..Request::new(Method::GET, target) };
    assert_eq!(egress.send(request).await.unwrap().status, 302);
    assert_eq!(receiver.requests(), 4);
}

#[tokio::test]
async fn another_origin_is_not_sent_the_callers_headers() {
    let echo = Receiver::talking(|mut peer| async move {
        let request = peer.hear().await?.unwrap();
        let length = request.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{request}");
        peer.say(answer.as_bytes()).await
    })
    .await;
    let first = Receiver::saying(to(&echo.url())).await;
    let egress = development();
    let target = egress.check_url(&first.url()).unwrap();
    let request = Request { redirects: 1, ..Request::new(Method::GET, target) }
        .header(AUTHORIZATION, HeaderValue::from_static("Bearer secret"))
        .header(ACCEPT, HeaderValue::from_static("application/json"));
    let answer = egress.send(request).await.unwrap();
    let heard = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(heard.contains("accept: application/json") && !heard.contains("secret"), "{heard}");
}

#[tokio::test]
async fn a_hop_to_our_own_network_opens_no_connection() {
    let trap = Receiver::saying(OK).await;
    let names = NameServer::start(Vec::new()).await;
    let first = Receiver::saying_at("127.0.0.2:0".parse().unwrap(), to(&trap.url())).await;
    let egress = names.client(&["127.0.0.2/32"]);
    let target = egress.check_url(&first.url()).unwrap();
    let request = Request { redirects: 1, ..Request::new(Method::GET, target) };
    let failure = egress.send(request).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused(Refusal::Address(Network::Loopback))));
    assert_eq!(trap.connections(), 0);
}
