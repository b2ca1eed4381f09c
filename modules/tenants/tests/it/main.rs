//! Tenants and the audit log over HTTP, against PostgreSQL.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod audit_pages;
mod audit_personal;
mod contract;
mod operators;
mod purge;
mod rows;
mod slug;
mod status;
mod tenant;
