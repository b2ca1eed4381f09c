//! The test kit tested with a small module, and with it the kernel, over HTTP against PostgreSQL.

// In a test, what must not be empty and is says so by panicking.
#![allow(clippy::unwrap_used)]

mod batches;
mod clocks;
mod connections;
mod contract;
mod door;
mod due;
mod events;
mod fixture;
mod gate;
mod health;
mod idempotency;
mod isolation;
mod job_leases;
mod jobs;
mod leftovers;
mod limits;
mod limits_body;
mod limits_headers;
mod lists;
mod many_at_once;
mod metrics;
mod months;
mod outbox;
mod personal_events;
mod portal;
mod protocol;
mod queue_control;
mod queue_fairness;
mod queue_kinds;
mod queue_limits;
mod queue_nodes;
mod queue_orders;
mod queue_races;
mod queue_retry;
mod queue_unique;
mod rough;
mod schedules;
mod sealing;
mod secret_keys;
mod startup;
mod stream;
mod things;
mod transactions;
mod work;
mod wrong_module;
