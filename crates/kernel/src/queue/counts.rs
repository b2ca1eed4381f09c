//! How many jobs ended how, by the hour: kept in memory and written with the next sign of life, so
//! that settling a job costs nothing more and no two nodes wait for one row.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::metrics::JobEnd;
use crate::tx::SystemTx;

/// Counts since they were last written.
#[derive(Default)]
pub(super) struct Counts(Mutex<Taken>);

/// By kind, in an order that is the same on every node: they write the same rows.
pub(super) type Taken = BTreeMap<String, Ends>;

#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    completed: i64,
    retried: i64,
    failed: i64,
}

impl Counts {
    pub(super) fn add(&self, kind: &str, end: JobEnd) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = match counts.get_mut(kind) {
            Some(ends) => ends,
            None => counts.entry(kind.to_owned()).or_default(),
        };
        match end {
            JobEnd::Done => ends.completed += 1,
            JobEnd::Again | JobEnd::Failed => ends.retried += 1,
            JobEnd::GivenUp => ends.failed += 1,
        }
    }

    pub(super) fn take(&self) -> Taken {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put_back(&self, taken: Taken) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, ends) in taken {
            let now = counts.entry(kind).or_default();
            now.completed += ends.completed;
            now.retried += ends.retried;
            now.failed += ends.failed;
        }
    }
}

pub(super) async fn write(tx: &mut SystemTx, taken: &Taken) -> Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = taken.keys().map(String::as_str).collect();
    let completed: Vec<i64> = taken.values().map(|ends| ends.completed).collect();
    let retried: Vec<i64> = taken.values().map(|ends| ends.retried).collect();
    let failed: Vec<i64> = taken.values().map(|ends| ends.failed).collect();
    sqlx::query!(
        "insert into core.job_counts as c (hour, kind, completed, retried, failed)
         select date_trunc('hour', clock_timestamp()), kind, completed, retried, failed
         from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
           as n (kind, completed, retried, failed)
         on conflict (hour, kind) do update set completed = c.completed + excluded.completed,
           retried = c.retried + excluded.retried, failed = c.failed + excluded.failed",
        &kinds as _,
        &completed,
        &retried,
        &failed,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Forgets hours that nobody looks at. A schedule's tick.
pub(crate) async fn forget_old(tx: &mut SystemTx) -> Result<()> {
    sqlx::query!(
        "delete from core.job_counts where hour < statement_timestamp() - interval '8 days'"
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
