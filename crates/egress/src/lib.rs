//! The public face of the crate; the text below is its README.
#![doc = include_str!("../README.md")]

mod breaker;
mod connection;
mod connector;
mod egress;
mod exchange;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod networks;
mod options;
mod policy;
mod refusal;
mod resolver;
mod target;
mod tls;

pub use breaker::{Breaker, BreakerRules};
pub use egress::{Egress, SetupError};
pub use exchange::{Answer, Request};
pub use failure::{Failure, Fault, Phase, TlsFault};
pub use headers::check_header;
pub use networks::Network;
pub use options::{Limits, Options};
pub use policy::Policy;
pub use refusal::Refusal;
pub use target::{LONGEST_URL, Target};

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method};
pub use ipnet::IpNet;
pub use rustls::pki_types::CertificateDer;
