//! The test kit tested with a small module, and with it the kernel, over HTTP against PostgreSQL.

mod contract;
mod events;
mod fixture;
mod idempotency;
mod isolation;
mod lists;
mod many_at_once;
mod protocol;
mod startup;
mod things;
mod transactions;
