//! Tries to break the isolation of a running application, and says what got through. Knows the
//! kernel and no module: what there is to try comes from PostgreSQL's catalogue and from the routes
//! that modules registered.

pub mod databases;
pub mod mutants;
pub mod routes;
pub mod tables;
pub mod tasks;
mod wire;

use std::sync::Arc;

use freehold_kernel::App;
use sqlx::PgPool;

pub use wire::{Answer, Request, Wire};

/// A running application, and a way past its row-level security.
#[derive(Clone)]
pub struct Subject {
    /// The application itself: routes, permissions, configuration.
    pub app: Arc<App>,
    /// A pool of the superuser on its database, to see what really is there.
    pub superuser: PgPool,
    /// Where it listens: `http://127.0.0.1:<port>`.
    pub base: String,
}

/// What a sweep has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many things it tried: statements, requests, transactions, mutants.
    pub tried: u64,
    /// What got through, a sentence for each thing, with what to do about it.
    pub findings: Vec<String>,
    /// What was left out and why; to be printed, so that nobody takes it for proved.
    pub left_out: Vec<String>,
}

/// Why a sweep could not run. Not a finding: nothing is proved either way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the sweep could not run a statement: {0}")]
    Database(#[from] sqlx::Error),
    /// A statement of the sweep's own that PostgreSQL did not take.
    #[error("the sweep could not run: {error}\n{sql}")]
    Statement {
        /// What PostgreSQL said.
        error: sqlx::Error,
        /// What it was asked.
        sql: String,
    },
    /// The wire.
    #[error("a request got no answer: {0}")]
    Http(#[from] reqwest::Error),
    /// The application.
    #[error("the application failed: {0}")]
    Application(#[from] freehold_kernel::Error),
    /// Something that must be there for a sweep to prove anything is not.
    #[error("{0}")]
    Missing(String),
}

/// The result of a sweep.
pub type Result<T> = std::result::Result<T, Error>;
