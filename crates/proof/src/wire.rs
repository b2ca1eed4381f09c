//! Requests as anybody may send them, and what came back, word for word.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::{Error, Result};

/// How often a node that says it is busy is asked again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// A connection that nobody used for so long is not used again: the application hangs up on those that
/// have been idle for ten seconds, and a request sent at that moment gets no answer.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(5);

/// The way to a running application. Cheap to clone.
#[derive(Clone)]
pub struct Wire {
    http: reqwest::Client,
    base: String,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, if empty.
    pub method: String,
    /// With its query.
    pub path: String,
    /// A token or a key, for `Authorization: Bearer`.
    pub credential: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Sent as JSON.
    pub body: Option<Value>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Every header, `name: value`, sorted.
    pub headers: Vec<String>,
    /// The body, as text.
    pub body: String,
}

impl Wire {
    /// To an application that listens at `base`.
    ///
    /// # Errors
    /// When there cannot be an HTTP client.
    pub fn to(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Nothing here is https; looking for the system's certificates takes time.
            .tls_certs_only([])
            .pool_idle_timeout(IDLE_MAX)
            .build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// Sends a request; again, when the node says that it is too busy just now.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(&self, request: &Request) -> Result<Answer> {
        for _ in 1..TRIES {
            let answer = self.send_once(request).await?;
            if answer.status != 503 {
                return Ok(answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.send_once(request).await
    }

    async fn send_once(&self, request: &Request) -> Result<Answer> {
        let method = if request.method.is_empty() { "GET" } else { &request.method };
        let method: Method =
            method.parse().map_err(|_| Error::Missing(format!("{method} is no method of HTTP")))?;
        let mut sent = self.http.request(method, format!("{}{}", self.base, request.path));
        if let Some(credential) = &request.credential {
            sent = sent.bearer_auth(credential);
        }
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        if let Some(body) = &request.body {
            sent = sent.header("content-type", "application/json").body(body.to_string());
        }
        let answer = sent.send().await?;
        let status = answer.status().as_u16();
        let mut headers: Vec<String> = answer
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        headers.sort();
        Ok(Answer { status, headers, body: answer.text().await? })
    }
}

impl Request {
    /// Without credentials, headers and body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// By somebody.
    #[must_use]
    pub fn by(mut self, credential: &str) -> Self {
        self.credential = Some(credential.to_owned());
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

impl Answer {
    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The code of a problem document.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let body = self.json();
        if self.status < 400 { None } else { body["code"].as_str().map(ToOwned::to_owned) }
    }
}
