//! What reads a receiver's answer, as a target in `fuzz/` calls it. No part of the module's
//! interface.

use std::time::Duration;

use freehold_egress::HeaderValue;
use freehold_kernel::Timestamp;

use crate::request;

/// How long a receiver that answers 429 or 503 asks to be left alone.
#[must_use]
pub fn retry_after(status: u16, asked: &HeaderValue, now: Timestamp) -> Option<Duration> {
    request::retry_after(status, Some(asked), now)
}
