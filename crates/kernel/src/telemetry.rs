//! Structured logs. JSON in production, readable lines in development; never a secret, never a
//! personal field.

use tracing_subscriber::EnvFilter;

/// What PostgreSQL remarks on is ours to know and no operator's: that a ROLLBACK found nothing to roll
/// back, when a task was stopped between a COMMIT and its answer.
const REMARKS: &str = "sqlx::postgres::notice=error";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Text,
}

/// Starts logging to standard error. `filter` is in the syntax of `tracing-subscriber`, as in
/// `info,freehold::request=debug` (one line a request).
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn init(
    filter: &str,
    format: LogFormat,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(format!("{REMARKS},{filter}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    }
}
