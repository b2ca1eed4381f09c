//! The days of `core.jobs_done`: made ahead of need, dropped when their time is up.

use super::job::interval;
use crate::error::Result;
use crate::tx::SystemTx;

/// A week ahead, so that a day's failure is nothing to anybody. At every start and a schedule's tick.
pub(crate) async fn tend(tx: &mut SystemTx) -> Result<()> {
    let kept = tx.work_mut().origin().app.config().limits.done_jobs_kept;
    sqlx::query!("select core.tend_job_days($1)", interval(kept)).fetch_one(tx.db()).await?;
    Ok(())
}
