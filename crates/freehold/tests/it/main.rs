//! The whole application: journeys over several modules, the rules of the API for every route, the
//! isolation of every table, the snapshots that reviewers read, and the binary as people treat it.
// A test fails by panicking; figures are for whoever runs it with `--no-capture`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod admin;
mod authorization;
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
mod leaks;
mod life;
mod many_tasks;
mod metrics;
mod mutants;
mod nodes;
mod operators;
mod own_database;
mod pgbouncer;
mod portal;
mod process;
mod prove;
mod receivers;
mod schema_versions;
mod secrets_in_logs;
mod side_by_side;
mod snapshots;
mod tour;
mod traces;
mod up;
mod webhooks;
