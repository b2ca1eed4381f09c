//! Identity over HTTP, against PostgreSQL: each test asks, and then reads what was recorded.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_token;
mod accounts;
mod api_keys;
mod authenticator;
mod contract;
mod idempotency;
mod key_rotation;
mod login;
mod logout;
mod me;
mod operator;
mod parallel_refresh;
mod refresh;
mod registration;
mod roles;
mod service_accounts;
mod signing_keys;
mod switch_tenant;
