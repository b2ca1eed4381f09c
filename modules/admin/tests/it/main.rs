//! The job queue's routes for operators over HTTP, against PostgreSQL, with jobs that really run.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bulk_retry;
mod cancel;
mod contract;
mod job_list;
mod jobs;
mod pause;
mod queues;
mod rows;
mod work;
