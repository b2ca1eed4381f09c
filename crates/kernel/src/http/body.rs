//! Reads a whole body, within bounds, before any transaction begins: a slow client holds a socket,
//! never a connection of the pool.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::config::Limits;
use crate::error::{Error, Kind, Result};

/// How much of an oversized body is read and thrown away so that the client sees the answer.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The body, or why it was not taken.
pub(super) async fn read(mut body: Body, limits: &Limits) -> Result<Bytes> {
    let deadline = Instant::now() + limits.body_timeout;
    let mut whole = BytesMut::new();
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(too_slow(limits)),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(error))) => {
                return Err(Error::new(
                    Kind::Malformed,
                    "core.body_broken",
                    "The body ended before it was complete.",
                )
                .because(error));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limits.body_bytes {
            drain(body).await;
            return Err(Error::new(
                Kind::TooLarge,
                "core.too_large",
                format!("A body may hold {} bytes.", limits.body_bytes),
            ));
        }
        whole.extend_from_slice(&data);
    }
}

fn too_slow(limits: &Limits) -> Error {
    Error::new(
        Kind::TooSlow,
        "core.too_slow",
        format!("The body must arrive within {} s.", limits.body_timeout.as_secs()),
    )
}

/// Throws away what follows a head that was refused, so that the connection can go on. A client that
/// waits for leave to send its body (`Expect: 100-continue`) has sent nothing, and should not.
pub(super) async fn discard(headers: &HeaderMap, body: Body) {
    if !body.is_end_stream() && !headers.contains_key(header::EXPECT) {
        drain(body).await;
    }
}

/// Most clients send everything before they read; closing at once would hide the answer from them.
async fn drain(mut body: Body) {
    let deadline = Instant::now() + DRAIN_TIME;
    let mut seen = 0;
    while seen < DRAIN_BYTES {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => seen += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
