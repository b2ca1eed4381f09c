//! Webhooks over HTTP: a real receiver on this machine, verified with the library that the
//! specification's authors publish.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod contract;
mod deliveries;
mod endpoints;
mod event_schemas;
mod event_types;
mod events;
mod gate;
mod giving_up;
mod health;
mod hostile;
mod intake;
mod log;
mod names;
mod options;
mod portal;
mod portal_events;
mod replays;
mod world;
