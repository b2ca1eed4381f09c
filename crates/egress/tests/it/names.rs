//! Names: what they resolve to is filtered, and connected to as it was checked.

use std::time::Duration;

use freehold_egress::{Failure, Limits, Network, Phase, Refusal, Request};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::name_server::{NameServer, Record, Zone};
use crate::receiver::{OK, OK_CLOSE, Receiver, loopback};

const NAME: &str = "hooks.customer.com";
/// Stands for the public internet in these tests; `127.0.0.1` stands for our own network.
const PUBLIC: &str = "127.0.0.2/32";

fn zone(answers: Vec<Vec<Record>>) -> Zone {
    vec![(NAME, answers)]
}

/// Two receivers on one port: the trap on 127.0.0.1 and the customer's on 127.0.0.2.
async fn trap_and_customer(answer: &str) -> (Receiver, Receiver) {
    loop {
        let trap = Receiver::saying(OK).await;
        let address = format!("127.0.0.2:{}", trap.address.port()).parse().unwrap();
        if TcpListener::bind(address).await.is_ok() {
            return (trap, Receiver::saying_at(address, answer).await);
        }
    }
}

fn url(port: u16) -> String {
    format!("http://{NAME}:{port}/hook")
}

#[tokio::test]
async fn a_name_that_rebinds_is_connected_to_what_was_checked_and_refused_the_next_time() {
    let answers = vec![vec![Record::A("127.0.0.2")], vec![Record::A("127.0.0.1")]];
    let names = NameServer::start(zone(answers)).await;
    let (trap, customer) = trap_and_customer(OK_CLOSE).await;
    let egress = names.client(&[PUBLIC]);
    let target = egress.check_url(&url(trap.address.port())).unwrap();

    let answer = egress.send(Request::post(target.clone(), "{}")).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.address, Some(customer.address));
    assert_eq!(names.asked(NAME), 1, "the address that was checked is the one that is used");

    let failure = egress.send(Request::post(target, "{}")).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Refused(Refusal::Resolved(Network::Loopback))),
        "{failure:?}"
    );
    assert_eq!(names.asked(NAME), 2);
    assert_eq!((trap.connections(), customer.connections()), (0, 1));
}

#[tokio::test]
async fn of_mixed_answers_only_the_permitted_ones_are_used() {
    let records = ["127.0.0.1", "10.0.0.7", "127.0.0.2", "169.254.169.254"].map(Record::A);
    let names = NameServer::start(zone(vec![records.to_vec()])).await;
    let (trap, customer) = trap_and_customer(OK_CLOSE).await;
    let egress = names.client(&[PUBLIC]);
    let target = egress.check_url(&url(trap.address.port())).unwrap();
    for _ in 0..5 {
        egress.send(Request::post(target.clone(), "{}")).await.unwrap();
    }
    assert_eq!((trap.connections(), customer.connections()), (0, 5));
}

#[tokio::test]
async fn a_name_of_any_refused_network_is_refused_and_tells_no_more_than_an_unknown_name() {
    use Record::{A, Aaaa, Cname};
    let refused = [
        ("loopback.customer.com", vec![A("127.0.0.1")], Network::Loopback),
        ("private.customer.com", vec![A("10.1.2.3"), A("192.168.0.1")], Network::Private),
        ("alias.customer.com", vec![Cname("db.customer.com"), A("172.16.0.9")], Network::Private),
        ("cloud.customer.com", vec![A("169.254.169.254")], Network::Metadata),
        ("azure.customer.com", vec![A("168.63.129.16")], Network::Metadata),
        ("cgnat.customer.com", vec![A("100.64.0.1")], Network::CarrierNat),
        ("zero.customer.com", vec![A("0.0.0.0")], Network::Unspecified),
        ("six.customer.com", vec![Aaaa("::1")], Network::Loopback),
        ("mapped.customer.com", vec![Aaaa("::ffff:127.0.0.1")], Network::Embedded),
        ("nat64.customer.com", vec![Aaaa("64:ff9b::a00:1")], Network::Private),
        ("ula.customer.com", vec![Aaaa("fd12::1")], Network::Private),
        ("aws6.customer.com", vec![Aaaa("fd00:ec2::254")], Network::Metadata),
    ];
    let zone = refused.iter().map(|(name, records, _)| (*name, vec![records.clone()])).collect();
    let egress = NameServer::start(zone).await.client(&[]);
    let unknown = egress.check_url("https://unknown.customer.com/").unwrap();
    let unknown = egress.send(Request::post(unknown, "")).await.unwrap_err();
    assert!(matches!(unknown, Failure::Dns(_)), "{unknown:?}");
    for (name, _, network) in refused {
        let target = egress.check_url(&format!("https://{name}/")).unwrap();
        let failure = egress.send(Request::post(target, "")).await.unwrap_err();
        let Failure::Refused(Refusal::Resolved(found)) = failure else {
            panic!("{name}: {failure:?}");
        };
        assert_eq!(found, network, "{name}");
        assert_eq!(failure.to_string(), unknown.to_string());
        assert!(!failure.may_have_arrived());
    }
}

#[tokio::test]
async fn a_name_is_remembered_for_its_time_to_live() {
    let names = NameServer::start(zone(vec![vec![Record::A("127.0.0.1")]])).await;
    let receiver = Receiver::saying(OK_CLOSE).await;
    let egress = names.client_with(&["127.0.0.0/8"], Limits::default());
    let target = egress.check_url(&url(receiver.address.port())).unwrap();
    for _ in 0..3 {
        egress.send(Request::post(target.clone(), "{}")).await.unwrap();
    }
    assert_eq!((receiver.connections(), names.asked(NAME)), (3, 1));
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_followed_by_the_next() {
    let records = vec![Record::A("127.0.0.3"), Record::A("127.0.0.1")];
    let names = NameServer::start(zone(vec![records])).await;
    let receiver = Receiver::saying(OK).await;
    let egress = names.client(&["127.0.0.0/8"]);
    let target = egress.check_url(&url(receiver.address.port())).unwrap();
    let answer = egress.send(Request::post(target, "{}")).await.unwrap();
    assert_eq!(answer.address, Some(receiver.address));
}

#[tokio::test]
async fn a_name_server_that_is_silent_costs_no_more_than_the_time_to_connect() {
    let silent = UdpSocket::bind(loopback(0)).await.unwrap();
    let mut names = NameServer::start(Vec::new()).await;
    names.address = silent.local_addr().unwrap();
    let connect = Duration::from_millis(200);
    let egress = names.client_with(&[], Limits { connect, ..Limits::default() });
    let target = egress.check_url("https://hooks.customer.com/").unwrap();
    let failure = egress.send(Request::post(target, "{}")).await.unwrap_err();
    assert!(matches!(failure, Failure::Timeout { phase: Phase::Dns, .. }), "{failure:?}");
}

#[tokio::test]
async fn five_hundred_names_asked_for_at_once_are_all_found() {
    let names = NameServer::start(vec![("*", vec![vec![Record::A("127.0.0.1")]])]).await;
    let receiver = Receiver::saying(OK).await;
    let egress = names.client_with(&["127.0.0.0/8"], Limits::default());
    let mut requests = JoinSet::new();
    for n in 0..500 {
        let url = format!("http://hooks.customer-{n}.com:{}/", receiver.address.port());
        let request = Request::post(egress.check_url(&url).unwrap(), "{}");
        let egress = egress.clone();
        requests.spawn(async move { egress.send(request).await.unwrap().status });
    }
    assert!(requests.join_all().await.iter().all(|status| *status == 200));
}

#[tokio::test]
async fn localhost_is_reached_by_name_where_the_policy_opens_loopback() {
    let receiver = Receiver::saying(OK).await;
    let egress = crate::receiver::development();
    let url = format!("http://localhost:{}/", receiver.address.port());
    let target = egress.check_url(&url).unwrap();
    assert_eq!(egress.send(Request::post(target, "{}")).await.unwrap().status, 200);
}
