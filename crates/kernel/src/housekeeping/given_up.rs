//! Work that was given up is kept for a while, to be looked at and run again, and then forgotten.

use super::Left;
use crate::app::App;
use crate::error::Result;
use crate::queue::job::interval;
use crate::tx::SystemTx;

/// How many rows one transaction removes.
const BATCH: i64 = 1000;

/// Removes jobs that were given up long ago, by default a week: time for somebody to come back from
/// a holiday and run them again, and little enough that what they carry does not pile up. A
/// schedule's tick.
pub(super) async fn forget_jobs(app: &App, tx: &mut SystemTx) -> Result<Left> {
    let kept = app.config().limits.failed_jobs_kept;
    let removed = sqlx::query!(
        "delete from core.jobs_dead where id in (
           select id from core.jobs_dead where died_at < statement_timestamp() - $2::interval
           order by died_at limit $1)",
        BATCH,
        interval(kept),
    )
    .execute(tx.db())
    .await?;
    Ok(Left::after(removed.rows_affected(), BATCH))
}

/// The same for events that a subscriber could not handle. The events themselves stay in the log.
pub(super) async fn forget_events(tx: &mut SystemTx) -> Result<Left> {
    let removed = sqlx::query!(
        "delete from core.outbox_dead where (subscriber, event_id) in (
           select subscriber, event_id from core.outbox_dead
           where died_at < statement_timestamp() - interval '7 days'
           order by died_at limit $1)",
        BATCH,
    )
    .execute(tx.db())
    .await?;
    Ok(Left::after(removed.rows_affected(), BATCH))
}
