//! One try at crossing the border, as the application's role, always rolled back.

use freehold_kernel::TenantId;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{Error, Result, Subject};

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It went through, on this many rows.
    Rows(u64),
    /// PostgreSQL refused, with this SQLSTATE.
    Refused(String),
}

/// Row-level security or a missing grant: both are called insufficient privilege.
pub(super) const NOT_ALLOWED: &str = "42501";
/// The foreign key points at nothing.
pub(super) const NO_SUCH_ROW: &str = "23503";

impl Outcome {
    /// Nothing was reached, for want of rows or of rights.
    pub(super) fn reached_nothing(&self) -> bool {
        *self == Self::Rows(0) || self.is_refused_with(NOT_ALLOWED)
    }

    pub(super) fn is_refused_with(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refused) if refused == code)
    }
}

/// Runs one statement as `freehold_app` in a tenant, or in none, and undoes it.
pub(super) async fn attempt(
    subject: &Subject,
    tenant: Option<TenantId>,
    sql: &str,
) -> Result<Outcome> {
    let mut connection = PgConnection::connect(&subject.app.config().database_url).await?;
    let opening = match tenant {
        Some(tenant) => format!("begin; set local app.tenant_id = '{}'", tenant.uuid()),
        None => "begin".to_owned(),
    };
    run(&mut connection, &opening).await?;
    let outcome = match run(&mut connection, sql).await {
        // What is deferred would be refused at COMMIT; there is none here.
        Ok(rows) => run(&mut connection, "set constraints all immediate").await.map(|_| rows),
        Err(error) => Err(error),
    };
    // Not committed: closing the connection rolls back.
    connection.close().await?;
    match outcome {
        Ok(rows) => Ok(Outcome::Rows(rows)),
        Err(sqlx::Error::Database(refusal)) => {
            Ok(Outcome::Refused(refusal.code().unwrap_or_default().into_owned()))
        }
        Err(error) => Err(Error::Statement { error, sql: sql.to_owned() }),
    }
}

async fn run(connection: &mut PgConnection, sql: &str) -> std::result::Result<u64, sqlx::Error> {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    Ok(sql.execute(connection).await?.rows_affected())
}
