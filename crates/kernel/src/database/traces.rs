//! The table that says which trace an event or a job belongs to, where somebody wants to know.

use std::collections::HashMap;

use uuid::Uuid;

use super::Db;
use crate::error::Result;

/// Notes what led to events and jobs.
pub(crate) async fn write_traces(db: &mut Db, ids: &[Uuid], parent: &str) -> Result<()> {
    sqlx::query("insert into core.traces (id, parent) select i, $2 from unnest($1::uuid[]) as i")
        .bind(ids)
        .bind(parent)
        .execute(db)
        .await?;
    Ok(())
}

/// What led to these, as far as somebody wanted to know.
pub(crate) async fn read_traces(db: &mut Db, ids: &[Uuid]) -> Result<HashMap<Uuid, String>> {
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as("select id, parent from core.traces where id = any($1)")
            .bind(ids)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().collect())
}

/// Removes what is over for a day.
pub(crate) async fn forget_traces(db: &mut Db) -> Result<()> {
    sqlx::query("delete from core.traces where at < statement_timestamp() - interval '1 day'")
        .execute(db)
        .await?;
    Ok(())
}
