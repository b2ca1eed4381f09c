//! Names whose addresses lead inside, at once or the second time they are asked for.

use std::net::Ipv4Addr;
use std::time::Duration;

use freehold_egress::{Egress, Limits, Options, Policy};
use freehold_testkit::TestApp;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::hostile::{Receiver, Then, customer, first_try, register, send};

const NO_ADDRESS: &str = "The host name has no public address; check its DNS records.";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Stands for a server on the internet; `127.0.0.1` stands for our own network.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[tokio::test]
async fn a_name_that_turns_inside_after_its_first_answer_reaches_nothing_there() {
    let app = app_that_asks(vec![PUBLIC, OWN]).await;
    let acme = customer(&app, "Acme").await;
    let (public, trap) = receivers_on_one_port();
    let url = format!("http://hooks.customer.com:{}/", public.port());

    let webhook = register(&acme, &url).await;
    send(&acme, 1).await;
    assert_eq!(first_try(&acme, &webhook).await["status"], "delivered");
    acme.delete(&format!("/api/v1/webhooks/{webhook}")).await.expect(204);

    let webhook = register(&acme, &url).await;
    send(&acme, 1).await;
    let log = first_try(&acme, &webhook).await;
    assert_eq!((&log["status"], &log["error"]), (&json!("pending"), &json!(NO_ADDRESS)));
    assert_eq!(log["tries"][0]["statusCode"], Value::Null);
    assert_eq!((public.requests(), trap.requests()), (1, 0));
}

#[tokio::test]
async fn names_of_addresses_inside_tell_no_more_than_names_without_any() {
    for address in [OWN, [10, 0, 0, 1].into(), [169, 254, 169, 254].into(), [100, 64, 0, 1].into()]
    {
        let app = app_that_asks(vec![address]).await;
        let acme = customer(&app, "Acme").await;
        let webhook = register(&acme, "http://hooks.customer.com/").await;
        send(&acme, 1).await;
        let log = first_try(&acme, &webhook).await;
        assert_eq!(log["error"], NO_ADDRESS, "{address}: {log}");
        assert_eq!(log["status"], "pending");
    }
}

/// The customer's on the internet, and the trap inside.
fn receivers_on_one_port() -> (Receiver, Receiver) {
    loop {
        let public = Receiver::start_at((PUBLIC, 0).into(), OK, Then::Close).unwrap();
        let trap = Receiver::start_at((OWN, public.port()).into(), OK, Then::Close);
        if let Ok(trap) = trap {
            return (public, trap);
        }
    }
}

/// The application, asking a DNS server that gives these addresses for any name, one after the
/// other, and the last one for ever. Nothing is remembered.
async fn app_that_asks(addresses: Vec<Ipv4Addr>) -> TestApp {
    let socket = UdpSocket::bind((OWN, 0)).await.unwrap();
    let name_servers = vec![socket.local_addr().unwrap()];
    tokio::spawn(serve(socket, addresses));
    let policy = Policy {
        plain_http: true,
        loopback: false,
        allowed: vec![format!("{PUBLIC}/32").parse().unwrap()],
    };
    let limits = Limits { dns_ttl: (Duration::ZERO, Duration::ZERO), ..Limits::default() };
    let options = Options { policy, limits, name_servers, ..Options::default() };
    TestApp::start([freehold_webhooks::module(Default::default(), Egress::new(options).unwrap())])
        .await
}

async fn serve(socket: UdpSocket, mut addresses: Vec<Ipv4Addr>) {
    const TYPE_A: [u8; 4] = [0, 1, 0, 1];
    let mut packet = [0; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
        let (id, query) = (&packet[..2], &packet[12..length]);
        // One question: a name, closed by an empty label, its type and class. What follows is EDNS.
        let end = query.iter().position(|byte| *byte == 0).unwrap() + 5;
        let question = &query[..end];
        let has_address = question.ends_with(&TYPE_A);
        let counts = [0, 1, 0, u8::from(has_address), 0, 0, 0, 0];
        let mut answer = [id, &[0x81, 0x80], &counts, question].concat();
        if has_address {
            // The name of the question, type and class, 60 s to live, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(addresses[0].octets());
            if addresses.len() > 1 {
                addresses.remove(0);
            }
        }
        socket.send_to(&answer, peer).await.unwrap();
    }
}
