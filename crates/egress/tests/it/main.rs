//! Real sockets on loopback: receivers that misbehave, name servers that lie, and every spelling of
//! an address that must not be reached.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod addresses;
mod answers;
mod breaker;
mod headers;
mod keep_alive;
mod name_server;
mod names;
mod receiver;
mod redirects;
mod slow;
mod tls;
mod urls;
