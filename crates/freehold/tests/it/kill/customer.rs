//! The customer: a product that sends events over several connections, and tries again for as long
//! as it takes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::PATIENCE;
use super::receiver::Receiver;

const CONNECTIONS: usize = 16;

/// A tenant with a webhook at the receiver.
pub(crate) struct Customer {
    http: reqwest::Client,
    api: String,
    key: String,
    webhook: String,
}

impl Customer {
    /// Registers, makes an API key, and a webhook at the receiver.
    pub(crate) async fn join(listen: &str, receiver: &Receiver) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        let api = format!("http://{listen}/api/v1");
        let mut joined = Self { http, api, key: String::new(), webhook: String::new() };
        let person =
            json!({"email": "ada@example.org", "password": "tarn-Kelp7-obverse", "name": "Ada"});
        joined.key = joined.create("auth/register", &person, "accessToken").await;
        joined.key = joined.create("api-keys", &json!({"name": "shop"}), "secret").await;
        let webhook = json!({"url": receiver.url(), "events": ["order.*"]});
        let made = joined.post("webhooks", &webhook).await.unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        let made: Value = made.json().await.unwrap();
        receiver.trust(made["secret"].as_str().unwrap());
        made["id"].as_str().unwrap().clone_into(&mut joined.webhook);
        joined
    }

    async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        let request = self.http.post(format!("{}/{path}", self.api)).bearer_auth(&self.key);
        request.json(body).send().await
    }

    async fn create(&self, path: &str, body: &Value, field: &str) -> String {
        let made = self.post(path, body).await.unwrap();
        assert_eq!(made.status(), StatusCode::CREATED, "{path}");
        made.json::<Value>().await.unwrap()[field].as_str().unwrap().to_owned()
    }

    /// Sends an event until it is acknowledged; answers its `webhook-id`.
    async fn send(&self, number: usize) -> String {
        let event = json!({
            "type": "order.paid", "id": format!("order-{number}"), "data": {"number": number},
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = self.post("events", &event).await {
                let (status, body) = (answer.status(), answer.text().await);
                let known =
                    matches!(status, StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE);
                assert!(known, "{status}: {body:?}");
                // The process may have been killed in the middle of its answer.
                let body = body.ok().and_then(|body| serde_json::from_str::<Value>(&body).ok());
                if let Some(id) = body.as_ref().and_then(|body| body["id"].as_str()) {
                    return id.to_owned();
                }
            }
            assert!(Instant::now() < deadline, "event {number} is not acknowledged");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All deliveries in the log.
    pub(crate) async fn log(&self, filter: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("webhooks/{}/deliveries?limit=200{filter}{cursor}", self.webhook);
            let request = self.http.get(format!("{}/{path}", self.api)).bearer_auth(&self.key);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let page: Value = answer.json().await.unwrap();
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// Whatever the log calls delivered is there. The log is read first, so that nothing can arrive
    /// between the two and hide a claim that was false when it was made.
    pub(crate) async fn check_claims(&self, receiver: &Receiver) {
        let claimed = event_ids(&self.log("&status=delivered").await);
        let received = receiver.ids();
        let false_claims: Vec<_> = claimed.difference(&received).collect();
        assert!(false_claims.is_empty(), "called delivered, but never arrived: {false_claims:?}");
        eprintln!("killed: {} called delivered, {} arrived", claimed.len(), received.len());
    }

    pub(crate) async fn wait_until_nothing_is_pending(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pending = self.log("&status=pending").await;
            if pending.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still pending: {pending:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The events of these deliveries.
pub(crate) fn event_ids(log: &[Value]) -> BTreeSet<String> {
    log.iter().map(|delivery| delivery["eventId"].as_str().unwrap().to_owned()).collect()
}

/// Events on their way in, over several connections at once.
pub(crate) struct Posting {
    connections: JoinSet<BTreeSet<String>>,
    acknowledged: Arc<AtomicUsize>,
}

impl Posting {
    pub(crate) fn of(customer: &Arc<Customer>, events: usize) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        for first in 0..CONNECTIONS {
            let (customer, acknowledged) = (customer.clone(), acknowledged.clone());
            connections.spawn(async move {
                let mut ids = BTreeSet::new();
                for number in (first..events).step_by(CONNECTIONS) {
                    ids.insert(customer.send(number).await);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                ids
            });
        }
        Self { connections, acknowledged }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(crate) async fn end(&mut self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        while let Some(ids) = self.connections.join_next().await {
            all.append(&mut ids.unwrap());
        }
        all
    }
}
