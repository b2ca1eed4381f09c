//! Databases that are made for a proof, and known again by the beginning of their name.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::Result;

/// Makes an empty one. The name is our own: letters, digits, underscores.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn make(admin: &mut PgConnection, name: &str) -> Result<()> {
    admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    Ok(())
}

/// Removes every one whose name begins so and goes on with an underscore; whoever is connected to it
/// is thrown out.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn remove_all(admin: &mut PgConnection, beginning: &str) -> Result<()> {
    let query = "select datname::text from pg_database where starts_with(datname, $1 || '_')";
    let names = sqlx::query_scalar(query).bind(beginning).fetch_all(&mut *admin).await?;
    for name in names {
        let name: String = name;
        admin.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await?;
    }
    Ok(())
}
