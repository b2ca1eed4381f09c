//! A client of the application under test. It reads every refusal against the OpenAPI document.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::openapi::Operations;

/// What all clients of one application share.
pub(crate) struct Shared {
    pub(crate) base_url: String,
    http: reqwest::Client,
    pub(crate) operations: Operations,
}

impl Shared {
    pub(crate) fn new(address: SocketAddr, document: &Value) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Nothing here is https; looking for the system's certificates takes time.
            .tls_certs_only([])
            // The application hangs up on connections that have been idle for ten.
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .expect("an HTTP client");
        let operations = Operations::of(document);
        Self { base_url: format!("http://{address}"), http, operations }
    }
}

/// Somebody who makes requests. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    token: Option<String>,
}

/// A request; `.await` sends it.
#[must_use = "a request is sent by awaiting it"]
pub struct Request {
    shared: Arc<Shared>,
    method: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
    may_fail: bool,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, token: Option<String>) -> Self {
        Self { shared, token }
    }

    /// What goes after `Bearer `, for tests that write requests byte by byte.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// A POST request with a JSON body.
    pub fn post(&self, path: &str, body: impl Serialize) -> Request {
        self.request("POST", path).json(body)
    }

    /// A PUT request with a JSON body.
    pub fn put(&self, path: &str, body: impl Serialize) -> Request {
        self.request("PUT", path).json(body)
    }

    /// A PATCH request with a JSON body.
    pub fn patch(&self, path: &str, body: impl Serialize) -> Request {
        self.request("PATCH", path).json(body)
    }

    /// A DELETE request.
    pub fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// Any other request, without a body.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let bearer =
            |token: &String| ("authorization".to_owned(), format!("Bearer {token}").into());
        Request {
            shared: self.shared.clone(),
            method: method.parse().expect("an HTTP method"),
            path: path.to_owned(),
            headers: self.token.iter().map(bearer).collect(),
            body: None,
            may_fail: false,
        }
    }
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sends this as JSON.
    pub fn json(self, body: impl Serialize) -> Self {
        let body = serde_json::to_vec(&body).expect("a body that can be written as JSON");
        self.body("application/json", body)
    }

    /// Sends these bytes as they are.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    /// The test is about a failure of the server: an answer of 500 or more is no reason to panic.
    pub fn expecting_failure(mut self) -> Self {
        self.may_fail = true;
        self
    }

    /// Sends the request; says what is wrong with the answer whoever asked for it.
    pub(crate) async fn exchange(self) -> (Answer, Vec<String>) {
        let Self { shared, method, path, headers, body, may_fail } = self;
        let mut request = shared.http.request(method.clone(), format!("{}{path}", shared.base_url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = match request.send().await {
            Ok(response) => Answer::read(method.as_str(), &path, response).await,
            Err(error) => panic!("{method} {path} got no answer: {error:?}"),
        };
        let faults = answer.faults(&shared.operations, may_fail);
        (answer, faults)
    }
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = BoxFuture<'static, Answer>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async {
            let (answer, faults) = self.exchange().await;
            assert!(faults.is_empty(), "{}\n{answer}", faults.join("\n"));
            answer
        })
    }
}
