//! What is sent and what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::target::Target;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub target: Target,
    /// Headers; [`check_header`](crate::check_header) makes them from a customer's text. Those that
    /// frame the message are refused when sent.
    pub headers: HeaderMap,
    /// The body; cheap to clone between attempts.
    pub body: Bytes,
    /// How many redirects a GET or HEAD follows, each checked like the first URL. What is left over
    /// comes back as the 3xx it is. Other methods never follow.
    pub redirects: u8,
    /// Instead of [`Limits::total`](crate::Limits::total).
    pub total: Option<Duration>,
    /// Instead of [`Limits::response_body_bytes`](crate::Limits::response_body_bytes).
    pub response_body_bytes: Option<usize>,
}

impl Request {
    /// A request without headers or body, under the client's limits, that follows no redirect.
    #[must_use]
    pub fn new(method: Method, target: Target) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            redirects: 0,
            total: None,
            response_body_bytes: None,
        }
    }

    /// A POST.
    #[must_use]
    pub fn post(target: Target, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(Method::POST, target) }
    }

    /// Adds a header, in place of any of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// What the receiver said, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, as they came.
    pub headers: HeaderMap,
    /// The body as it came, not decompressed, as far as the limit let it be read.
    pub body: Bytes,
    /// Whether there was more of the body.
    pub truncated: bool,
    /// Who answered. For our log: a customer may know the name, not always the address.
    pub address: Option<SocketAddr>,
    /// Until the status and the headers had come.
    pub head: Duration,
    /// Until the body had come.
    pub total: Duration,
}

impl Answer {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
