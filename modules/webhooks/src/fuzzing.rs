//! What reads a receiver's answer and a customer's filter, as targets in `fuzz/` call it. No part of
//! the module's interface.

use std::time::Duration;

use freehold_egress::HeaderValue;
use freehold_kernel::Timestamp;
use serde_json::Value;

use crate::filter::{Filter, Subject};
use crate::request;

/// How long a receiver that answers 429 or 503 asks to be left alone.
#[must_use]
pub fn retry_after(status: u16, asked: &HeaderValue, now: Timestamp) -> Option<Duration> {
    request::retry_after(status, Some(asked), now)
}

/// Whether an event with this data passes a filter.
///
/// # Errors
/// In words, what is wrong with the filter.
pub fn passes(filter: &str, data: &Value) -> Result<bool, String> {
    Ok(Filter::parse(filter)?.passes(&Subject::of(data)))
}
