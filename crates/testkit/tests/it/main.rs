//! The test kit tested with a small module, and with it the kernel, over HTTP against PostgreSQL.

// In a test, what must not be empty and is says so by panicking.
#![allow(clippy::unwrap_used)]

mod contract;
mod door;
mod events;
mod fixture;
mod gate;
mod idempotency;
mod isolation;
mod lists;
mod many_at_once;
mod protocol;
mod rough;
mod startup;
mod things;
mod transactions;
