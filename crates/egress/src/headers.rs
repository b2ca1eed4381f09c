//! Headers a caller may choose, and those that belong to the client.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::refusal::Refusal;

/// The longest value a caller may give.
const LONGEST_VALUE: usize = 4096;
const LONGEST_NAME: usize = 128;

/// They frame the message, choose the host, or speak to proxies: two readers must never disagree.
const RESERVED: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "forwarded",
    "via",
];

/// Checks a header from a customer's settings, and returns it ready for a request.
///
/// # Errors
/// The refusal says whether the name is reserved or not a name, or the value cannot be carried.
pub fn check_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Refusal> {
    if name.len() > LONGEST_NAME {
        return Err(Refusal::HeaderName);
    }
    let name: HeaderName = name.parse().map_err(|_| Refusal::HeaderName)?;
    check_name(&name)?;
    let carried = || Refusal::HeaderValue(name.to_string());
    if value.len() > LONGEST_VALUE {
        return Err(carried());
    }
    let value = HeaderValue::from_str(value).map_err(|_| carried())?;
    Ok((name, value))
}

pub(crate) fn check_names(headers: &HeaderMap) -> Result<(), Refusal> {
    headers.keys().try_for_each(check_name)
}

fn check_name(name: &HeaderName) -> Result<(), Refusal> {
    let name = name.as_str();
    if RESERVED.contains(&name) || name.starts_with("proxy-") {
        return Err(Refusal::ReservedHeader(name.to_owned()));
    }
    Ok(())
}
