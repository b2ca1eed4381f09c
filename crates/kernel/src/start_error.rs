//! Why an application cannot start, said for the person who has started it.

use crate::database::{Finding, SchemaError};
use crate::housekeeping::UnknownKeys;

/// Why an application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Modules contradict each other or break a rule of registration.
    #[error("the modules do not fit together:\n  {}", .0.join("\n  "))]
    Assembly(Vec<String>),
    /// The database cannot be reached.
    #[error("the database does not answer: {0}. Check DATABASE_URL and DATABASE_SYSTEM_URL.")]
    Database(#[from] sqlx::Error),
    /// The schema is older than this program, or too new for it.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Isolation would not hold on this database.
    #[error("this database is not safe to serve from:\n  {}", join(.0))]
    Unsafe(Vec<Finding>),
    /// Something in the database would not open.
    #[error(transparent)]
    UnknownKeys(#[from] UnknownKeys),
    /// A module could not start.
    #[error("start-up failed: {0}")]
    Module(#[from] crate::Error),
}

fn join(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}
