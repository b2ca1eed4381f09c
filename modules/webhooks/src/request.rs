//! One signed request to a receiver, and what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freehold_egress::{Answer, Egress, HeaderMap, HeaderName, HeaderValue, Request, check_header};
use freehold_kernel::{Error, EventId, Result, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::options::Headers;
use crate::signature::Secret;

/// How much of an answer is kept.
const KEPT_BODY: usize = 4 * 1024;
/// Headers of an answer that are kept, and how much of each.
const KEPT_HEADERS: usize = 30;
const KEPT_VALUE: usize = 200;

/// What is to be sent where.
pub(crate) struct Message {
    pub(crate) url: String,
    /// Each signs; the first one is in use, others are on their way out.
    pub(crate) secrets: Vec<Secret>,
    /// The customer's own.
    pub(crate) headers: Headers,
    pub(crate) event: EventId,
    pub(crate) kind: String,
    pub(crate) timestamp: Timestamp,
    pub(crate) data: Box<RawValue>,
    /// Which request of its delivery this is, from 1; a replay begins anew.
    pub(crate) number: u32,
}

/// What receivers get, as Standard Webhooks says.
#[derive(Serialize)]
struct Body<'a> {
    data: &'a RawValue,
    timestamp: Timestamp,
    r#type: &'a str,
}

/// What came of a request.
pub(crate) struct Reply {
    pub(crate) status_code: Option<i32>,
    /// Why it is no success.
    pub(crate) error: Option<String>,
    /// The headers of the answer.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// The first 4 KiB of the answer.
    pub(crate) body: Option<String>,
    pub(crate) duration_ms: i32,
    /// How long the receiver asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// Makes the request. Everything that goes wrong on the way is a reply, not an error.
pub(crate) async fn send(egress: &Egress, now: Timestamp, message: &Message) -> Result<Reply> {
    let target = match egress.check_url(&message.url) {
        Ok(target) => target,
        Err(refusal) => return Ok(Reply::failed(refusal.to_string(), Duration::ZERO)),
    };
    let (data, timestamp, r#type) = (&*message.data, message.timestamp, &*message.kind);
    let body = serde_json::to_vec(&Body { data, timestamp, r#type })?;
    let (id, seconds) = (message.event.to_string(), now.unix_seconds());
    let signatures: Result<Vec<String>> =
        message.secrets.iter().map(|secret| secret.sign(&id, seconds, &body)).collect();
    let simple = message.secrets.first().and_then(|secret| secret.sign_simply(&body));
    let ours = [
        ("content-type", Some("application/json".to_owned())),
        ("webhook-signature", Some(signatures?.join(" "))),
        ("x-webhook-signature", simple),
        ("webhook-timestamp", Some(seconds.to_string())),
        ("webhook-id", Some(id)),
    ];
    let mut request = Request::post(target, body);
    for (name, value) in &message.headers {
        let (name, value) = check_header(name, value).map_err(Error::internal)?;
        request = request.header(name, value);
    }
    for (name, value) in ours {
        let Some(value) = value else { continue };
        let value = HeaderValue::try_from(value).map_err(Error::internal)?;
        request = request.header(HeaderName::from_static(name), value);
    }
    let began = Instant::now();
    Ok(match egress.send(request).await {
        Ok(answer) => Reply::of(&answer, now),
        Err(failure) => Reply::failed(failure.to_string(), began.elapsed()),
    })
}

impl Reply {
    /// Whether the receiver has it.
    pub(crate) fn arrived(&self) -> bool {
        self.status_code.is_some_and(|code| (200..300).contains(&code))
    }

    /// Why it must be sent again, in words.
    pub(crate) fn reason(&self) -> String {
        self.error.clone().unwrap_or_else(|| "the receiver did not accept it".to_owned())
    }

    fn of(answer: &Answer, now: Timestamp) -> Self {
        let error =
            (!answer.is_success()).then(|| format!("the receiver answered {}", answer.status));
        Self {
            status_code: Some(i32::from(answer.status)),
            error,
            headers: Some(kept_headers(&answer.headers)),
            body: Some(readable(&answer.body, KEPT_BODY)),
            duration_ms: milliseconds(answer.total),
            retry_after: retry_after(answer.status, answer.headers.get("retry-after"), now),
        }
    }

    fn failed(error: String, after: Duration) -> Self {
        Self {
            status_code: None,
            error: Some(error),
            headers: None,
            body: None,
            duration_ms: milliseconds(after),
            retry_after: None,
        }
    }
}

/// The beginning of what a receiver sent, as text.
fn readable(bytes: &[u8], most: usize) -> String {
    // U+0000 cannot be stored, and a receiver may well send it.
    String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).replace('\0', "\u{fffd}")
}

/// By name, the first of each; without cookies, which are for whoever asked and not for the log.
fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let names = headers.keys().filter(|name| *name != "set-cookie").take(KEPT_HEADERS);
    let value = |name: &HeaderName| readable(headers[name].as_bytes(), KEPT_VALUE);
    names.map(|name| (name.to_string(), value(name))).collect()
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// What a receiver that is busy asks for, in seconds or as a date (RFC 9110, 10.2.3); at most an
/// hour.
pub(crate) fn retry_after(
    status: u16,
    asked: Option<&HeaderValue>,
    now: Timestamp,
) -> Option<Duration> {
    if !matches!(status, 429 | 503) {
        return None;
    }
    let asked = asked?.to_str().ok()?.trim();
    let seconds = asked.parse().ok().or_else(|| {
        let date = httpdate::parse_http_date(asked).ok()?;
        let date = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        date.checked_sub(u64::try_from(now.unix_seconds()).ok()?)
    })?;
    Some(Duration::from_secs(seconds).min(Duration::from_secs(3600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_receiver_is_left_alone_as_long_as_it_asks_and_no_longer_than_an_hour() {
        let now = Timestamp::from_unix_seconds(784_111_757).unwrap();
        let asked = |status, value: &'static str| {
            let value = HeaderValue::from_static(value);
            retry_after(status, Some(&value), now).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(429, "120"), Some(120));
        assert_eq!(asked(503, "Sun, 06 Nov 1994 08:49:37 GMT"), Some(20));
        assert_eq!(asked(503, "Sun, 06 Nov 1994 08:48:37 GMT"), None, "that is over");
        assert_eq!(asked(503, "99999999999999"), Some(3600));
        assert_eq!(asked(503, "soon"), None);
        assert_eq!(asked(500, "120"), None);
    }
}
