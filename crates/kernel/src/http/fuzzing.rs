//! The parsers that meet a stranger's bytes first, as the targets in `fuzz/` call them. No part of
//! the kernel's interface.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;

use super::list::Asked;
use super::{IfMatch, headers, json, list};
use crate::crypto::Keyring;
use crate::error::Result;

/// The pass over a body before serde.
///
/// # Errors
/// 400 for depth, 422 for U+0000.
pub fn scan_json(body: &[u8], depth_max: usize) -> Result<()> {
    json::scan(body, depth_max)
}

/// A body of one object, after the scan.
///
/// # Errors
/// 400 for what is no JSON, 422 for what is no `T`.
pub fn decode_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    json::decode(body)
}

/// How many, after which cursor, under which filters.
pub type ListQuery = (u16, Option<String>, Vec<(String, String)>);

/// What a list's query asks for.
///
/// # Errors
/// 422.
pub fn list_query(query: &str) -> Result<ListQuery> {
    let Asked { limit, cursor, filters } = Asked::read(query)?;
    Ok((limit, cursor, filters))
}

/// A cursor as a page hands it out.
///
/// # Errors
/// Never with a keyring that works.
pub fn seal_cursor(keyring: &Keyring, place: &[u8], key: &[u8]) -> Result<String> {
    list::seal_cursor(keyring, place, key)
}

/// The key inside a cursor.
///
/// # Errors
/// 422 for all that we did not hand out for this place.
pub fn open_cursor(keyring: &Keyring, place: &[u8], cursor: &str) -> Result<Vec<u8>> {
    list::open_cursor(keyring, place, cursor)
}

/// `If-Match`.
///
/// # Errors
/// 422.
pub fn if_match(header: &HeaderValue) -> Result<Option<i64>> {
    IfMatch::read(header).map(|seen| seen.0)
}

/// `X-Request-Id`: the caller's when it is sane, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> String {
    headers::request_id(headers)
}

/// The caller's address by `X-Forwarded-For`.
#[must_use]
pub fn caller(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpAddr]) -> Option<IpAddr> {
    headers::caller(peer, headers, trusted)
}
