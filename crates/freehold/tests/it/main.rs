//! The whole application: journeys over several modules, the rules of the API for every route, the
//! isolation of every table, the snapshots that reviewers read, and the binary as people treat it.
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod contract;
mod documents;
mod isolation;
mod journey;
mod kill;
mod life;
mod metrics;
mod nodes;
mod own_database;
mod process;
mod receivers;
mod secrets_in_logs;
mod snapshots;
mod tour;
mod traces;
mod up;
mod webhooks;
