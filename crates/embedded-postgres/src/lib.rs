//! The public face of the crate; the text below is its README.
#![doc = include_str!("../README.md")]

mod binaries;
mod cluster;
mod config;
mod error;
mod files;
mod folder;
mod home;
mod log;
mod orphans;
mod postmaster;
mod running;
mod server;
mod socket;
mod user;

use std::path::PathBuf;

pub use binaries::{Binaries, OLDEST_MAJOR, find_binaries};
pub use error::Error;
pub use orphans::{Orphan, orphans};
pub use running::Running;
pub use server::Server;

/// The superuser of every cluster, whoever runs the server.
pub const SUPERUSER: &str = "postgres";

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of this Freehold; made (with mode 0700) when it is not there.
    pub data_dir: PathBuf,
    /// PostgreSQL settings that win over ours, as `(name, value)`.
    pub settings: Vec<(String, String)>,
    /// `false` gives up safety against power cuts for speed: for tests only.
    pub durable: bool,
    /// Where PostgreSQL's programs are; `None` looks for them, see [`find_binaries`].
    pub binaries: Option<PathBuf>,
    /// The database roles one may log in as; [`SUPERUSER`] is always among them. The crate does
    /// not create them, it only lets them in.
    pub roles: Vec<String>,
}

impl Options {
    /// A durable server in `data_dir`, with Freehold's roles and nothing else changed.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let roles = ["freehold_owner", "freehold_app", "freehold_system"];
        Options {
            data_dir: data_dir.into(),
            settings: Vec::new(),
            durable: true,
            binaries: None,
            roles: roles.map(String::from).to_vec(),
        }
    }
}
