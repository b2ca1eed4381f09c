//! What reads a receiver's answer, a customer's filter and a customer's schema, as targets in `fuzz/` call it. No part of
//! the module's interface.

use std::time::Duration;

use freehold_egress::HeaderValue;
use freehold_kernel::Timestamp;
use serde_json::{Map, Value};

use crate::filter::{Filter, Subject};
use crate::request;
use crate::schema::{Schema, steps_for};

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

/// What of this data is not as a schema says, as pointers and words, within the steps of a request.
///
/// # Errors
/// In words, what is wrong with the schema, or that the check costs too much.
pub fn violations(schema: &Map<String, Value>, data: &Value) -> Result<Vec<String>, String> {
    let schema =
        Schema::understand(schema).map_err(|found| format!("{} {}", found.pointer, found.words))?;
    let mut steps = steps_for(data).saturating_add(100_000);
    let found = schema.violations(data, &mut steps).map_err(|_| "too costly".to_owned())?;
    Ok(found.into_iter().map(|found| format!("{} {}", found.pointer, found.words)).collect())
}
