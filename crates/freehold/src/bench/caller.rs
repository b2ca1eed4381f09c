//! Requests that prepare a measurement, look at what came of it, and clean up after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::limits;
use super::load::code;
use super::wire::{Address, Ask, Connection, Reply};

/// Between two tries, unless the installation says how long.
const PAUSE: Duration = Duration::from_secs(1);

/// The installation's answer, where it is no.
#[derive(Debug, thiserror::Error)]
#[error("{what} was refused with {status} ({code}): {detail}")]
pub(super) struct Refused {
    what: String,
    pub(super) status: StatusCode,
    code: String,
    detail: String,
}

/// Somebody with a credential and a connection.
pub(super) struct Caller {
    connection: Connection,
    credential: Option<HeaderValue>,
    patience: Duration,
}

impl Caller {
    pub(super) fn new(address: &Arc<Address>, credential: Option<&HeaderValue>) -> Self {
        let connection = Connection::new(address);
        Self { connection, credential: credential.cloned(), patience: Duration::ZERO }
    }

    /// Waits so long for limits and restarts: what was made must go.
    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Answers the body; null where there is none.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let began = Instant::now();
        loop {
            let ask = Ask {
                method: method.clone(),
                path: path.to_owned(),
                credential: self.credential.clone(),
                body: body.clone(),
            };
            let outcome = self.connection.send(ask).await;
            let wait = outcome.as_ref().map_or(Some(PAUSE), wait);
            match wait.filter(|wait| began.elapsed() + *wait < self.patience) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return read(&format!("{method} {path}"), &outcome?),
            }
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Every item of a list, page by page. `path` ends in `?` or in a filter.
    pub(super) async fn all(&mut self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}&limit=100{cursor}")).await?;
            if let Value::Array(data) = page["data"].take() {
                items.extend(data);
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Removes what may have gone already.
    pub(super) async fn remove(&mut self, path: &str) -> anyhow::Result<()> {
        match self.call(Method::DELETE, path, None).await {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|known| known.status == StatusCode::NOT_FOUND)
}

/// How long to wait before asking again, if that is of use.
fn wait(reply: &Reply) -> Option<Duration> {
    if !matches!(reply.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let wait = reply.headers.get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok());
    Some(wait.and_then(|seconds| seconds.parse().ok()).map_or(PAUSE, Duration::from_secs))
}

fn read(what: &str, reply: &Reply) -> anyhow::Result<Value> {
    if reply.status.is_success() {
        return match reply.body.as_ref() {
            [] => Ok(Value::Null),
            body => Ok(serde_json::from_slice(body)?),
        };
    }
    if reply.status == StatusCode::TOO_MANY_REQUESTS {
        bail!(limits::refusal(reply));
    }
    let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no reason was given");
    let errors = match &problem["errors"] {
        Value::Null => String::new(),
        errors => format!(" {errors}"),
    };
    let (what, detail) = (what.to_owned(), format!("{detail}{errors}"));
    Err(Refused { what, status: reply.status, code: code(reply), detail }.into())
}
