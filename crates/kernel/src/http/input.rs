//! What handlers take. Everything that can be refused without the database is parsed first, in
//! argument order; transactions begin after that.

use std::any::type_name;
use std::future::{Future, ready};

use axum::http::HeaderValue;
use serde_json::json;

use super::operation::Operation;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::tx::Tx;

/// An argument of a handler.
pub trait Input: Sized + Send + 'static {
    /// What reading the request yields.
    type Parsed: Send;

    /// Says in the OpenAPI operation what the request must carry.
    fn describe(operation: &mut Operation);

    /// Reads the request. Runs for every argument before any transaction begins.
    ///
    /// # Errors
    /// A refusal of the request.
    fn parse(cx: &Cx) -> Result<Self::Parsed>;

    /// Makes the argument.
    ///
    /// # Errors
    /// When the database cannot be had.
    fn make(parsed: Self::Parsed, cx: &Cx) -> impl Future<Output = Result<Self>> + Send;
}

impl Input for Cx {
    type Parsed = ();

    fn describe(_: &mut Operation) {}

    fn parse(_: &Cx) -> Result<()> {
        Ok(())
    }

    fn make((): (), cx: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(cx.clone()))
    }
}

/// The request's transaction. The wrapper commits it when the answer is a success and rolls it
/// back otherwise; GET and HEAD get one that cannot write.
impl Input for Tx {
    type Parsed = ();

    fn describe(operation: &mut Operation) {
        operation.takes_transaction();
    }

    fn parse(_: &Cx) -> Result<()> {
        Ok(())
    }

    fn make((): (), cx: &Cx) -> impl Future<Output = Result<Self>> + Send {
        cx.request_tx()
    }
}

/// The request's transaction where it must be its own: where the request carries an
/// `Idempotency-Key`, or its trace is followed. For a handler whose requests else share one.
impl Input for Option<Tx> {
    type Parsed = ();

    fn describe(operation: &mut Operation) {
        operation.takes_transaction();
    }

    fn parse(_: &Cx) -> Result<()> {
        Ok(())
    }

    async fn make((): (), cx: &Cx) -> Result<Self> {
        if cx.is_apart() { cx.request_tx().await.map(Some) } else { Ok(None) }
    }
}

/// What the module keeps for its handlers, see [`Module::state`](crate::Module::state).
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> Input for State<T> {
    type Parsed = ();

    fn describe(_: &mut Operation) {}

    fn parse(_: &Cx) -> Result<()> {
        Ok(())
    }

    fn make((): (), cx: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(cx.app().state::<T>().map(Self).ok_or_else(|| {
            Error::internal(format!("no module keeps a state of type {}", type_name::<T>()))
        }))
    }
}

/// The version that the caller last saw, from `If-Match`; `None` when they do not care.
pub struct IfMatch(pub Option<i64>);

impl IfMatch {
    pub(super) fn read(header: &HeaderValue) -> Result<Self> {
        let text = header.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        text.strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            // 18 digits fit; a sign would be another spelling of the same version.
            .filter(|digits| digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|version| version.parse().ok())
            .map(|version| Self(Some(version)))
            .ok_or_else(|| {
                Error::invalid("If-Match", "core.format", "an ETag of ours, in double quotes")
            })
    }

    /// Refuses when the resource has moved on from the version the caller saw.
    ///
    /// # Errors
    /// 412 `core.stale`.
    pub fn check(&self, version: i64) -> Result<()> {
        match self.0 {
            Some(seen) if seen != version => Err(Error::stale()),
            _ => Ok(()),
        }
    }
}

impl Input for IfMatch {
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_header(
            "If-Match",
            "The `ETag` you last saw; a newer version is 412",
            &json!({"anyOf": [
                {"type": "string", "pattern": "^\"[0-9]{1,18}\"$"}, {"type": "string", "enum": ["*"]}
            ]}),
        );
        operation.refuses("core.stale");
    }

    fn parse(cx: &Cx) -> Result<Self> {
        cx.headers().get("if-match").map_or(Ok(Self(None)), Self::read)
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_takes_an_etag_of_ours_in_one_spelling_or_the_star() {
        let read = |text| IfMatch::read(&HeaderValue::from_static(text)).map(|seen| seen.0);
        assert_eq!(read("\"7\"").unwrap(), Some(7));
        assert_eq!(read("*").unwrap(), None);
        for text in ["", "7", "\"", "\"\"", "\"+7\"", "\"-7\"", "W/\"7\"", "\"7\", \"8\""] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
