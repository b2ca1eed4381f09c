//! What operators ask about a database: how much waits in it, whether its clock and its schema are
//! what they should be, and how busy the pools are.

use sqlx::{FromRow, Row};

use super::pool::Pool;
use super::{Access, Database};
use crate::error::Result;
use crate::queue::{JobsWaiting, Most, count_waiting};
use crate::time::Timestamp;

/// A pool at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolState {
    pub(crate) name: &'static str,
    pub(crate) size: u32,
    pub(crate) idle: u32,
    pub(crate) max: u32,
    /// How many transactions found no idle connection so far.
    pub(crate) waits: u64,
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) jobs: Vec<JobsWaiting>,
    pub(crate) outbox: Vec<EventsWaiting>,
}

/// Events that a subscriber has not handled.
#[derive(Debug, FromRow)]
pub(crate) struct EventsWaiting {
    pub(crate) subscriber: String,
    pub(crate) count: i64,
    pub(crate) oldest_seconds: f64,
}

const OUTBOX: &str = "
  select s.name as subscriber, count(o.event_at) as count,
    greatest(0, coalesce(extract(epoch from statement_timestamp() - min(o.event_at)), 0))::float8
      as oldest_seconds
  from unnest($1::text[]) as s (name)
  left join lateral (
    select event_at from core.outbox where subscriber = s.name order by event_id limit $2
  ) as o on true
  group by s.name";

impl Database {
    /// Both pools.
    pub(crate) fn pools(&self) -> [PoolState; 2] {
        let state = |name, pool: &Pool| PoolState {
            name,
            size: pool.connections().size(),
            idle: u32::try_from(pool.idle()).unwrap_or(u32::MAX),
            max: pool.size(),
            waits: pool.waits(),
        };
        [state("requests", &self.app), state("system", &self.system)]
    }

    /// What waits, counted up to `most` for each queue and each subscriber.
    pub(crate) async fn backlog(
        &self,
        subscribers: &[&str],
        kinds: &[&str],
        most: i64,
    ) -> Result<Backlog> {
        let mut db = self.begin(Access::Dispatch).await?;
        // Whoever asks has stopped waiting by then.
        sqlx::query("set local statement_timeout = '2s'").execute(&mut db).await?;
        let of_jobs = Most { queues: most, of_each: most, waiting: most * most, others: most };
        let jobs = count_waiting(&mut db, Some(kinds), of_jobs).await?;
        let outbox = sqlx::query_as(OUTBOX).bind(subscribers).bind(most).fetch_all(&mut db).await?;
        db.rollback().await?;
        Ok(Backlog { jobs, outbox })
    }

    /// What the database takes for now. Answers only when the pool for our own work does.
    pub(crate) async fn its_clock(&self) -> Result<Timestamp> {
        let mut db = self.begin(Access::Dispatch).await?;
        let row = sqlx::query("select clock_timestamp() as at").fetch_one(&mut db).await?;
        db.rollback().await?;
        Ok(row.try_get("at")?)
    }

    /// The schemas in which not everything of `wanted` (schema, number of the last file) has run.
    /// One that is ahead is well: a newer release is about to take over.
    pub(crate) async fn behind(&self, wanted: &[(&'static str, i64)]) -> Result<Vec<String>> {
        let mut db = self.begin(Access::Dispatch).await?;
        let (schemas, versions): (Vec<&str>, Vec<i64>) = wanted.iter().copied().unzip();
        let rows = sqlx::query(
            "select w.name from unnest($1::text[], $2::bigint[]) as w (name, version)
             where coalesce(core.schema_version(w.name), 0) < w.version",
        )
        .bind(schemas)
        .bind(versions)
        .fetch_all(&mut db)
        .await?;
        db.rollback().await?;
        Ok(rows.iter().map(|row| row.get("name")).collect())
    }
}
