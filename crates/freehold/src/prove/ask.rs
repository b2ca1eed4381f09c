//! Requests that must be answered well, or there is nothing to prove anything on.

use anyhow::{Context, bail};
use freehold_proof::{Request, Subject, Wire};
use serde_json::Value;

/// Somebody who asks, with a token, a key, or nothing.
#[derive(Clone)]
pub(super) struct Ask {
    wire: Wire,
    credential: Option<String>,
}

impl Ask {
    pub(super) fn nobody(subject: &Subject) -> anyhow::Result<Self> {
        Ok(Self { wire: Wire::to(&subject.base)?, credential: None })
    }

    pub(super) fn with(&self, credential: &str) -> Self {
        Self { wire: self.wire.clone(), credential: Some(credential.to_owned()) }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Request::new("GET", path)).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Request::new("POST", path).json(body)).await
    }

    /// The body of the answer; anything but 2xx is an error that says what came instead.
    pub(super) async fn send(&self, request: Request) -> anyhow::Result<Value> {
        let request = Request { credential: self.credential.clone(), ..request };
        let answer = self.wire.send(&request).await?;
        if !(200..300).contains(&answer.status) {
            bail!(
                "{} {} was answered {}: {}",
                request.method,
                request.path,
                answer.status,
                answer.body
            );
        }
        Ok(answer.json())
    }
}

/// A text in an answer.
pub(super) fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {pointer} in {value}"))?.to_owned())
}
