//! What came back, and what a test says about it.

use std::fmt;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::openapi::Operations;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    request: String,
    method: String,
    path: String,
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    json: Value,
}

impl Answer {
    pub(crate) async fn read(method: &str, path: &str, response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let request = format!("{method} {path}");
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => panic!("{request} was answered {status}, and then broke off: {error}"),
        };
        let json = serde_json::from_slice(&body).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default().to_owned();
        Self { request, method: method.to_owned(), path, status, headers, body, json }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body's bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// One header; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A field of the body that must be a text, as in `answer.text_of("id")`.
    #[must_use]
    #[track_caller]
    pub fn text_of(&self, field: &str) -> &str {
        let text = self.json[field].as_str();
        text.unwrap_or_else(|| panic!("{field} should be a text in the answer:\n{self}"))
    }

    /// The answer has this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert!(self.status == status, "expected {status}, got another answer:\n{self}");
        self
    }

    /// The answer is a problem document with this code and status.
    #[track_caller]
    pub fn problem(&self, code: &str, status: u16) -> &Self {
        assert!(
            self.code() == Some(code) && self.status == status,
            "expected {status} {code}, got another answer:\n{self}"
        );
        self
    }

    /// The answer is 422 and says that this field is wrong: a JSON Pointer, or the name of a
    /// query parameter.
    #[track_caller]
    pub fn invalid(&self, pointer: &str) -> &Self {
        self.expect(422);
        assert!(
            self.pointers().any(|named| named == pointer),
            "expected {pointer} to be called wrong, got another answer:\n{self}"
        );
        self
    }

    /// The fields that a 422 calls wrong.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        let errors = self.json["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["pointer"].as_str())
    }

    /// The code of a problem document; `None` for everything else.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let is_problem = self.header("content-type") == "application/problem+json";
        if is_problem { self.json["code"].as_str() } else { None }
    }

    /// What is wrong with this answer, whatever was asked for.
    pub(crate) fn faults(&self, operations: &Operations, may_fail: bool) -> Vec<String> {
        let mut faults = Vec::new();
        if self.status >= 500 && !may_fail {
            faults.push(format!(
                "{} failed with {}; whatever a client sends, the answer is below 500",
                self.request, self.status
            ));
        }
        let Some(code) = self.code() else {
            return faults;
        };
        if !operations.names(&self.method, &self.path, code) {
            faults.push(format!(
                "{} refuses with {code}, which its x-error-codes do not name: add it to the \
                 handler's #[endpoint(\"{code}\")]",
                self.request
            ));
        }
        if self.json["status"] != self.status {
            faults.push(format!("the problem document speaks of another status: {self}"));
        }
        if self.json["requestId"] != self.header("x-request-id") {
            faults.push(format!("the problem document names another request: {self}"));
        }
        faults
    }
}

/// The request, the status and the body, as a failing test prints it.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} → {}", self.request, self.status)?;
        match &self.json {
            Value::Null => f.write_str(&self.text()),
            json => write!(f, "{json:#}"),
        }
    }
}
