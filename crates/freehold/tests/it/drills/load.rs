//! Reads and audited changes over several connections, and the check afterwards: what was
//! acknowledged is there, once, with its event, and the events still verify.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::balancer::{Balancer, Outcome};

const CONNECTIONS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done about a change that fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// Noted: nothing may fail.
    Noted,
    /// Tried again with the same `Idempotency-Key`, as clients should.
    TriedAgain,
}

/// Under way until it is ended.
pub(super) struct Load {
    connections: JoinSet<Done>,
    shared: Arc<Shared>,
}

struct Shared {
    balancer: Arc<Balancer>,
    token: String,
    failed: Failed,
    is_over: AtomicBool,
    acknowledged: AtomicUsize,
    /// For whoever wonders why nothing goes on.
    last_refusal: Mutex<String>,
}

/// What one connection, or all of them, did.
#[derive(Default)]
pub(super) struct Done {
    /// The name of each key that was acknowledged, and its id.
    pub(super) acknowledged: BTreeMap<String, String>,
    /// Requests that failed, which were not tried again.
    pub(super) failures: Vec<String>,
    /// Answers of 503 and broken connections that were.
    pub(super) refused: usize,
    /// Reads that were answered.
    pub(super) reads: usize,
    /// The longest time without an acknowledgement on a connection.
    pub(super) longest_gap: Duration,
}

impl Load {
    /// Begins.
    pub(super) fn on(balancer: &Arc<Balancer>, token: &str, failed: Failed) -> Self {
        let shared = Arc::new(Shared {
            balancer: balancer.clone(),
            token: token.to_owned(),
            failed,
            is_over: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            last_refusal: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            let shared = shared.clone();
            connections.spawn(async move { shared.work(number).await });
        }
        Self { connections, shared }
    }

    /// How many changes have been acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits for so many more.
    pub(super) async fn acknowledges_more(&self, count: usize) -> Duration {
        let (began, before) = (Instant::now(), self.acknowledged());
        while self.acknowledged() < before + count {
            let refusal = || self.shared.last_refusal.lock().unwrap().clone();
            assert!(began.elapsed() < PATIENCE, "nothing goes on; the last refusal: {}", refusal());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    }

    /// Lets what is under way come to its end.
    pub(super) async fn end(mut self) -> Done {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut all = Done::default();
        while let Some(done) = self.connections.join_next().await {
            let mut done = done.unwrap();
            all.acknowledged.append(&mut done.acknowledged);
            all.failures.append(&mut done.failures);
            all.refused += done.refused;
            all.reads += done.reads;
            all.longest_gap = all.longest_gap.max(done.longest_gap);
        }
        all
    }
}

impl Shared {
    async fn work(&self, connection: usize) -> Done {
        let (mut done, mut last) = (Done::default(), Instant::now());
        for number in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let name = format!("drill {connection} {number}");
            if let Some(id) = self.change(&name, &mut done).await {
                done.acknowledged.insert(name, id);
                done.longest_gap = done.longest_gap.max(last.elapsed());
                last = Instant::now();
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            let read = self.balancer.send(&Method::GET, "/tenant", &self.token, None, None).await;
            match read {
                Ok((StatusCode::OK, _)) => done.reads += 1,
                other => self.note(&other, &mut done),
            }
        }
        done
    }

    async fn change(&self, name: &str, done: &mut Done) -> Option<String> {
        let (body, began) = (json!({"name": name}), Instant::now());
        loop {
            let post = Method::POST;
            let sent = self.balancer.send(&post, "/api-keys", &self.token, Some(name), Some(&body));
            match sent.await {
                Ok((StatusCode::CREATED, text)) => {
                    let made: Value = serde_json::from_str(&text).unwrap();
                    return Some(made["id"].as_str().unwrap().to_owned());
                }
                other => self.note(&other, done),
            }
            if self.failed == Failed::Noted {
                return None;
            }
            assert!(began.elapsed() < PATIENCE, "{name} is not acknowledged");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Trouble that passes may be met where it is expected; everything else is a failure.
    fn note(&self, outcome: &Outcome, done: &mut Done) {
        let passes = match outcome {
            Ok((status, text)) => {
                let held = text.contains("core.idempotency_in_flight");
                *status == StatusCode::SERVICE_UNAVAILABLE || held
            }
            Err(_) => true,
        };
        if self.failed == Failed::TriedAgain && passes {
            done.refused += 1;
            *self.last_refusal.lock().unwrap() = format!("{outcome:?}");
        } else {
            done.failures.push(format!("{outcome:?}"));
        }
    }
}

impl Done {
    /// Compares with the database.
    pub(super) async fn verify(&self, sql: &PgPool) {
        assert!(self.failures.is_empty(), "{}: {:#?}", self.failures.len(), self.failures);
        let names: Vec<String> = sqlx::query_scalar(
            "select name from identity.api_keys where name like 'drill %' order by name",
        )
        .fetch_all(sql)
        .await
        .unwrap();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once.len(), names.len(), "a change was made twice");
        let acknowledged: Vec<&String> = self.acknowledged.keys().collect();
        let kept: Vec<&String> =
            names.iter().filter(|name| self.acknowledged.contains_key(*name)).collect();
        assert_eq!(kept, acknowledged, "what was acknowledged is there");
        let subjects: Vec<String> = self.acknowledged.values().cloned().collect();
        let wrong: Vec<(String, i64)> = sqlx::query_as(
            "select s, count(e.id) from unnest($1::text[]) as s
             left join core.events e on e.type = 'apikey.created' and e.subject = s
             group by s having count(e.id) <> 1",
        )
        .bind(&subjects)
        .fetch_all(sql)
        .await
        .unwrap();
        assert_eq!(wrong, [], "each acknowledged change has one event");
        let (changes, events): (i64, i64) = sqlx::query_as(
            "select (select count(*) from identity.api_keys),
               (select count(*) from core.events where type = 'apikey.created')",
        )
        .fetch_one(sql)
        .await
        .unwrap();
        assert_eq!(events, changes, "no change lacks its event, no event its change");
        let forged: i64 = sqlx::query_scalar(
            "select count(*) from core.events where digest is distinct from core.event_digest(
               tenant_id, id, at, occurred_at, source, type, actor, on_behalf_of, subject,
               request_id, data, personal)",
        )
        .fetch_one(sql)
        .await
        .unwrap();
        assert_eq!(forged, 0, "every event verifies");
    }
}
