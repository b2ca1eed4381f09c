//! The test kit tested with a small module, and with it the kernel, over HTTP against PostgreSQL.

mod fixture;
mod things;
