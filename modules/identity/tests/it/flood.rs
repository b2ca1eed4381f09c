//! Floods of sign-ins: refused from memory, and never in the way of a known device.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use freehold_identity::{Settings, module};
use freehold_kernel::Quota;
use freehold_testkit::{Answer, TestApp};
use serde_json::{Value, json};

use crate::accounts::{PASSWORD, begin, end, login, register, row_counts, start};

/// Identity where an address may fail three times, and once a minute after.
async fn strict() -> TestApp {
    let settings = Settings { bad_sign_ins: Quota::per_minute(1, 3), ..Settings::default() };
    TestApp::with([module(settings)])
        .config(|config| config.trusted_proxies = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
        .start()
        .await
}

fn wrong(number: usize) -> Value {
    json!({"email": format!("somebody-{number}@example.org"), "password": "not-The-1-password"})
}

fn right(device: Option<&str>) -> Value {
    json!({"email": "ada@example.org", "password": PASSWORD, "deviceToken": device})
}

async fn login_from(app: &TestApp, address: &str, body: Value) -> Answer {
    app.anonymous().post("/api/v1/auth/login", body).header("x-forwarded-for", address).await
}

#[tokio::test]
async fn an_address_that_failed_too_often_waits_whomever_it_asks_for_next() {
    let app = strict().await;
    let ada = register(&app, "Ada").await;
    for number in 0..3 {
        login_from(&app, "203.0.113.7", wrong(number)).await.expect(401);
    }
    for body in [wrong(4), right(None)] {
        let refused = login_from(&app, "203.0.113.7", body).await;
        refused.problem("identity.too_many_failures", 429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((50..=61).contains(&wait), "{wait}");
    }
    let forged = ada.answer.text_of("deviceToken").replace("fhd_A", "fhd_B");
    let stranger = login_from(&app, "203.0.113.7", right(Some(&forged))).await;
    stranger.problem("identity.too_many_failures", 429);
    let known = right(Some(ada.answer.text_of("deviceToken")));
    login_from(&app, "203.0.113.7", known).await.expect(200);
    login_from(&app, "203.0.113.8", right(None)).await.expect(200);
}

#[tokio::test]
async fn another_persons_device_is_a_stranger_to_the_budget_of_an_address() {
    let app = strict().await;
    register(&app, "Ada").await;
    let bob = register(&app, "Bob").await;
    let foreign = right(Some(bob.answer.text_of("deviceToken")));
    for number in 0..3 {
        login_from(&app, "203.0.113.7", wrong(number)).await.expect(401);
    }
    let refused = login_from(&app, "203.0.113.7", foreign).await;
    refused.problem("identity.too_many_failures", 429);
}

#[tokio::test]
async fn tries_that_are_right_cost_an_address_nothing() {
    let app = strict().await;
    register(&app, "Ada").await;
    for _ in 0..8 {
        login_from(&app, "203.0.113.7", right(None)).await.expect(200);
    }
}

#[tokio::test]
async fn floods_on_a_locked_account_and_from_a_spent_address_are_refused_without_a_statement() {
    let app = strict().await;
    register(&app, "Ada").await;
    for place in 0..5 {
        let body = json!({"email": "ada@example.org", "password": "not-The-1-password"});
        login_from(&app, &format!("198.51.100.{place}"), body).await.expect(401);
    }
    login_from(&app, "198.51.100.9", right(None)).await.problem("identity.locked", 429);
    for number in 0..3 {
        login_from(&app, "203.0.113.7", wrong(number)).await.expect(401);
    }
    let before = row_counts(&app).await;
    let mut hold = begin(&app).await;
    let all = "lock table core.users, identity.passwords, identity.failed_tries";
    sqlx::query(all).execute(&mut hold).await.unwrap();
    for number in 0..20 {
        let elsewhere = format!("198.51.100.{number}");
        let locked = login_from(&app, &elsewhere, right(None));
        let spent = login_from(&app, "203.0.113.7", wrong(number));
        let both = async { tokio::join!(locked, spent) };
        let both = tokio::time::timeout(Duration::from_secs(5), both).await;
        let (locked, spent) = both.expect("no statement waits for the tables");
        locked.problem("identity.locked", 429);
        spent.problem("identity.too_many_failures", 429);
    }
    end(&mut hold, "rollback").await;
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn a_known_device_signs_in_within_a_second_while_strangers_wait_for_two() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let known = right(Some(ada.answer.text_of("deviceToken")));
    // Comparing with this hash takes three times as long as with an ordinary one.
    let slow = "update identity.passwords set hash = replace(hash, 't=2,', 't=6,')
                where user_id <> $1";
    for number in 0..4 {
        register(&app, &format!("Slow{number}")).await;
    }
    sqlx::query(slow).bind(*ada.user()).execute(app.sql()).await.unwrap();
    let (waiting, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // More than may stand in line for the places there are here.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let flood: Vec<_> = (0..cores * 64 + 100)
        .map(|number| {
            let body = json!({
                "email": format!("slow{}@example.org", number % 4), "password": "wrong-1-Password"
            });
            let request = app.anonymous().post("/api/v1/auth/login", body).expecting_failure();
            let (waiting, answered) = (waiting.clone(), answered.clone());
            tokio::spawn(async move {
                waiting.fetch_add(1, Ordering::Relaxed);
                let status = request.await.status();
                if status == 401 {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                status
            })
        })
        .collect();
    // Once one of them was served, the others stand in line.
    let began = Instant::now();
    while answered.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "nobody is served");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    login(&app, known).await.expect(200);
    let took = began.elapsed();
    let mut statuses = Vec::new();
    for one in flood {
        statuses.push(one.await.unwrap());
    }
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(refused > 50, "the pool was not flooded: {statuses:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let first = statuses.iter().find(|status| ![401, 429, 503].contains(*status));
    assert_eq!(first, None);
}
