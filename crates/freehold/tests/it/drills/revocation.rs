//! A session that is ended on one of three nodes under load is over on all of them within a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::balancer::Balancer;
use super::installation::{Installation, addresses, http, register};
use super::load::{Failed, Load};

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_over_on_three_nodes_under_load_within_a_second() {
    let slowest = Box::pin(end_sessions(5, &[])).await;
    eprintln!("the last answer came {slowest:.0?} after the session was ended");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_word_from_other_nodes_it_is_over_within_two_seconds() {
    // Nobody listens there: the nodes never hear of each other.
    let deaf = ("DATABASE_DIRECT_URL", "postgres://freehold_system@127.0.0.1:1/postgres");
    let slowest = Box::pin(end_sessions(3, &[deaf])).await;
    eprintln!("the last answer came {slowest:.0?} after the session was ended");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make check-long"]
async fn long_a_hundred_ended_sessions_are_over_within_a_second_each() {
    let slowest = Box::pin(end_sessions(100, &[])).await;
    eprintln!("the last answer came {slowest:.0?} after the session was ended");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Ends so many sessions; answers the longest time that one of them was still good anywhere.
async fn end_sessions(count: usize, environment: &[(&str, &str)]) -> Duration {
    let installation = Installation::new();
    let addresses = addresses::<3>();
    let nodes = addresses.map(|address| installation.serve(address, environment));
    let token = register(addresses[0], "ada").await;
    let load = Load::on(&Balancer::before(&addresses), &token, Failed::Noted);
    load.acknowledges_more(10).await;
    let mut slowest = Duration::ZERO;
    for turn in 0..count {
        let session = sign_in(addresses[turn % 3]).await;
        slowest = slowest.max(end_session(&addresses, turn % 3, &session).await);
    }
    let done = load.end().await;
    done.verify(&installation.sql()).await;
    nodes.into_iter().for_each(crate::nodes::Node::stop);
    slowest
}

/// Signs out at one node while the token is in use at all. Counts from before the request is sent,
/// which is earlier than its commit.
async fn end_session(addresses: &[SocketAddr], at: usize, token: &str) -> Duration {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut users = JoinSet::new();
    for address in addresses {
        assert!(is_good(&http(), *address, token).await, "it is remembered everywhere");
        let (address, token, is_over) = (*address, token.to_owned(), is_over.clone());
        users.spawn(async move { use_until_refused(address, &token, &is_over).await });
    }
    let began = Instant::now();
    let url = format!("http://{}/api/v1/auth/logout", addresses[at]);
    let ended = http().post(url).bearer_auth(token).send().await.unwrap();
    assert!(ended.status().is_success(), "{}", ended.status());
    is_over.store(true, Ordering::SeqCst);
    let mut slowest = Duration::ZERO;
    while let Some(last_good) = users.join_next().await {
        slowest = slowest.max(last_good.unwrap().saturating_duration_since(began));
    }
    slowest
}

/// Answers when the last good answer came.
async fn use_until_refused(address: SocketAddr, token: &str, is_over: &AtomicBool) -> Instant {
    let (http, began) = (http(), Instant::now());
    let (mut last_good, mut refusals) = (began, 0);
    // A few more after the first refusal: it must not come back.
    while refusals < 10 || !is_over.load(Ordering::SeqCst) {
        assert!(began.elapsed() < Duration::from_secs(20), "the token stays good at {address}");
        if is_good(&http, address, token).await {
            (last_good, refusals) = (Instant::now(), 0);
        } else {
            refusals += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    last_good
}

async fn is_good(http: &Client, address: SocketAddr, token: &str) -> bool {
    let asked = http.get(format!("http://{address}/api/v1/tenant")).bearer_auth(token);
    match asked.send().await.unwrap().status() {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("{other}"),
    }
}

async fn sign_in(address: SocketAddr) -> String {
    let login = json!({"email": "ada@example.org", "password": "tarn-Kelp7-obverse"});
    let url = format!("http://{address}/api/v1/auth/login");
    let answer = http().post(url).json(&login).send().await.unwrap();
    let told: Value = answer.json().await.unwrap();
    told["accessToken"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}
