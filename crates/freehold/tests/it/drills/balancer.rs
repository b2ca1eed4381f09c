//! A load balancer, as far as nodes can tell: it asks each whether it is ready, sends requests in
//! turn to those that are, and tries the next one only when a connection was refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::installation::http;

const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// One backend.
struct Backend {
    address: SocketAddr,
    is_ready: AtomicBool,
}

/// The balancer; its looks end when it is dropped.
pub(super) struct Balancer {
    http: Client,
    backends: Arc<Vec<Backend>>,
    turn: AtomicUsize,
    looks: JoinHandle<()>,
}

/// What came back, or why nothing did.
pub(super) type Outcome = Result<(StatusCode, String), String>;

impl Balancer {
    /// In front of these nodes, all of which are ready.
    pub(super) fn before(addresses: &[SocketAddr]) -> Arc<Self> {
        let backends =
            addresses.iter().map(|&address| Backend { address, is_ready: AtomicBool::new(true) });
        let backends = Arc::new(backends.collect::<Vec<_>>());
        let (http, asked) = (http(), backends.clone());
        let looks = tokio::spawn(look(http.clone(), asked));
        Arc::new(Self { http, backends, turn: AtomicUsize::new(0), looks })
    }

    /// Whether requests go to this node.
    pub(super) fn uses(&self, address: SocketAddr) -> bool {
        let mut backends = self.backends.iter();
        backends.any(|node| node.address == address && node.is_ready.load(Ordering::Relaxed))
    }

    /// Sends a request to the node whose turn it is.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        token: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Outcome {
        let count = self.backends.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut refused = String::from("no node is ready");
        for node in (first..first + count).map(|turn| &self.backends[turn % count]) {
            if !node.is_ready.load(Ordering::Relaxed) {
                continue;
            }
            let url = format!("http://{}/api/v1{path}", node.address);
            let mut request = self.http.request(method.clone(), url).bearer_auth(token);
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
                    return Ok((status, text));
                }
                Err(error) if error.is_connect() => {
                    node.is_ready.store(false, Ordering::Relaxed);
                    refused = format!("{error:?}");
                }
                Err(error) => {
                    return Err(format!("{method} {path} at {}: {error:?}", node.address));
                }
            }
        }
        Err(refused)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

async fn look(http: Client, backends: Arc<Vec<Backend>>) {
    loop {
        for node in backends.iter() {
            let asked = http.get(format!("http://{}/health/ready", node.address)).send().await;
            let is_ready = asked.is_ok_and(|answer| answer.status().is_success());
            node.is_ready.store(is_ready, Ordering::Relaxed);
        }
        tokio::time::sleep(LOOKS_EVERY).await;
    }
}
