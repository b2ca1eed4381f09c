//! `--statements`: what PostgreSQL was asked while something ran, and what took its time.

use anyhow::Result;
use sqlx::{Connection, PgConnection};

use crate::place::Place;
use crate::report::progress;

const SHOWN: i64 = 16;

/// Begins to count anew.
pub(crate) async fn reset(place: &Place) -> Result<()> {
    let mut database = PgConnection::connect(&place.superuser_url()).await?;
    sqlx::raw_sql("create extension if not exists pg_stat_statements")
        .execute(&mut database)
        .await?;
    sqlx::raw_sql("select pg_stat_statements_reset()").execute(&mut database).await?;
    Ok(())
}

/// Says what took the most time since then, for each of so many things done.
pub(crate) async fn show(place: &Place, done: i64) -> Result<()> {
    let mut database = PgConnection::connect(&place.superuser_url()).await?;
    let rows: Vec<(f64, f64, f64, f64, String)> = sqlx::query_as(
        "select calls::float8 / $1, total_exec_time * 1000 / $1,
           sum(total_exec_time) over () * 1000 / $1, wal_bytes::float8 / $1,
           left(regexp_replace(query, '\\s+', ' ', 'g'), 90)
         from pg_stat_statements order by total_exec_time desc limit $2",
    )
    .bind(f64::from(u32::try_from(done.max(1))?))
    .bind(SHOWN)
    .fetch_all(&mut database)
    .await?;
    for (calls, micros, all, wal, query) in rows {
        let share = 100.0 * micros / all;
        progress(&format!("  {calls:7.3} × {micros:7.1} µs {share:4.0} %  {wal:6.0} B  {query}"));
    }
    Ok(())
}
