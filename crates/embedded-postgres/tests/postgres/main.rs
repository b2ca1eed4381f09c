//! The crate with a real PostgreSQL, as root and as an ordinary user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod one_folder;
mod other_processes;
mod support;
mod users;
