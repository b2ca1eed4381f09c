//! The whole application: journeys over several modules, the rules of the API for every route, the
//! isolation of every table, the snapshots that reviewers read, and the binary as people treat it.
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod admin;
mod bench;
mod contract;
mod description;
mod doctor;
mod documents;
mod drills;
mod fits;
mod isolation;
mod journey;
mod kill;
mod life;
mod metrics;
mod nodes;
mod operators;
mod own_database;
mod pgbouncer;
mod process;
mod receivers;
mod schema_versions;
mod secrets_in_logs;
mod snapshots;
mod tour;
mod traces;
mod up;
mod webhooks;
