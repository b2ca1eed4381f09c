//! Identity over HTTP, against PostgreSQL: each test asks, and then reads what was recorded.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_token;
mod accounts;
mod api_keys;
mod authenticator;
mod change_password;
mod change_password_races;
mod contract;
mod custom_roles;
mod explained;
mod flood;
mod idempotency;
mod key_rotation;
mod lockout;
mod login;
mod logout;
mod me;
mod member_removal;
mod members;
mod operator;
mod owners;
mod parallel_refresh;
mod recent_proof;
mod refresh;
mod registration;
mod role_holders;
mod role_rights;
mod roles;
mod security_events;
mod service_accounts;
mod session_limits;
mod sessions;
mod signing_key_rotation;
mod signing_keys;
mod step_up;
mod switch_tenant;
