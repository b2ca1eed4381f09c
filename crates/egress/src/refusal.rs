//! What is not sent at all, in sentences for the person who gave the URL or the header.

use crate::networks::Network;
use crate::target::LONGEST_URL;

/// Why a request is not sent. Trying again will not help; changing the request will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More than 2,048 bytes.
    #[error("The URL is longer than {LONGEST_URL} characters; shorten it.")]
    TooLong,
    /// Not a URL, or one that two programs may read differently.
    #[error(
        "The URL cannot be read; write it as https://host/path, without spaces or backslashes."
    )]
    Malformed,
    /// `ftp:`, `file:`, `gopher:` …
    #[error("Only https URLs are called; this one has another scheme.")]
    Scheme,
    /// `http:` where the policy asks for TLS.
    #[error("Plain http is not allowed here; use an https URL.")]
    PlainHttp,
    /// `https://user:password@host`.
    #[error("The URL holds a user name or a password; take it out and use a header instead.")]
    Userinfo,
    /// `https://host/#here`.
    #[error("The URL has a fragment (`#…`), which is never sent; take it out.")]
    Fragment,
    /// A port where no web server listens.
    #[error("Port {0} is not used for HTTP; use 443 or another port of a web server.")]
    Port(u16),
    /// No host name in the public DNS: too long, an empty label, a dot at the end, odd characters.
    #[error("The host name is not a valid one; check its spelling and leave out a dot at the end.")]
    HostName,
    /// A name that only means something inside a network.
    #[error("This host name is an internal one; use a name from the public DNS.")]
    InnerName,
    /// The URL's host is an address that may not be reached.
    #[error("The URL's host is {}, which is not called; use a public host name.", .0.words())]
    Address(Network),
    /// The host name has addresses, and none of them may be reached. The sentence is the one for a
    /// name without addresses: nobody learns what internal names resolve to.
    #[error("The host name has no public address; check its DNS records.")]
    Resolved(Network),
    /// A header that only the client may set.
    #[error("The header `{0}` is set by the sender and cannot be chosen; take it out.")]
    ReservedHeader(String),
    /// No header name HTTP knows.
    #[error(
        "The header's name is empty, too long, or has characters other than letters, digits and hyphens."
    )]
    HeaderName,
    /// No value HTTP can carry.
    #[error("The value of the header `{0}` is too long or has line breaks or control characters.")]
    HeaderValue(String),
}
