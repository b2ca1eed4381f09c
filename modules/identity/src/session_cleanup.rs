//! Sessions are deleted 30 days after they ended, by themselves or before their time; that they
//! were is kept by the audit log.

use std::time::Duration;

use freehold_kernel::{Result, SystemTx};

/// How long the row of a session that ended is kept, for whoever is asked what became of it.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Sessions that one tick deletes.
const BATCH: i64 = 5000;
/// With the batch, more than eighty a second: more than any installation opens for long.
pub(crate) const EVERY: Duration = Duration::from_secs(60);

/// Deletes a batch. A schedule's tick.
pub(crate) async fn forget(tx: &mut SystemTx) -> Result<()> {
    let until = tx.real_now() - KEPT_FOR;
    sqlx::query!(
        "delete from identity.sessions where id in (
           select id from identity.sessions where coalesce(ended_at, expires_at) < $1
           order by coalesce(ended_at, expires_at) limit $2 for update skip locked)",
        until as _,
        BATCH,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
