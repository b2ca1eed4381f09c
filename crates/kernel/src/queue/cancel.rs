//! Jobs that somebody cancelled. One that waits is given up by whichever node comes first; one that
//! runs is stopped by its node, which hears of it through the change feed.

use std::sync::Arc;

use uuid::Uuid;

use super::job::JobRow;
use super::settle::{self, Dead};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::Result;
use crate::tx::SystemTx;

/// Says in the change feed that a job is to end.
pub(super) const TOPIC: &str = "job";
const AT_ONCE: i64 = 100;

/// Gives up cancelled jobs that wait, whenever there are some, until the process stops.
pub(super) async fn serve(app: Arc<App>) {
    loop {
        app.wakers().cancelled.notified().await;
        if let Err(error) = give_up_waiting(&app).await {
            tracing::warn!(%error, "cancelled jobs could not be given up yet");
        }
    }
}

async fn give_up_waiting(app: &Arc<App>) -> Result<()> {
    while let Some(node) = app.queue().node().id() {
        let jobs = take(app, node).await?;
        if jobs.is_empty() {
            return Ok(());
        }
        for (row, why) in jobs {
            let tx = SystemTx::begin(app.origin()).await?;
            settle::give_up(app, tx, &row, Dead::Cancelled, &why).await?;
        }
    }
    Ok(())
}

/// Held like any other job until it has been given up.
async fn take(app: &Arc<App>, node: Uuid) -> Result<Vec<(JobRow, String)>> {
    let claim = Uuid::now_v7();
    let mut tx = SystemTx::begin(app.origin()).await?;
    let rows = sqlx::query!(
        r#"with next as (
           select ctid as place from core.jobs where cancelled_by is not null and state <> 'active'
           order by id limit $3 for update skip locked
         )
         update core.jobs j
         set state = 'active', claim = $1, node = $2, started_at = clock_timestamp()
         from next where j.ctid = next.place
         returning j.id, j.kind, j.tenant_id, j.queue, j.payload::text as "payload!", j.attempts,
           j.failures, j.cancelled_by as "cancelled_by!""#,
        claim,
        node,
        AT_ONCE,
    )
    .fetch_all(tx.db())
    .await?;
    tx.commit().await?;
    let jobs = rows.into_iter().map(|row| {
        let why = format!("cancelled by {}", row.cancelled_by);
        let row = JobRow {
            id: row.id,
            claim,
            node,
            kind: row.kind,
            tenant: TenantId::from_uuid(row.tenant_id),
            queue: row.queue.into(),
            payload: row.payload,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
        };
        (row, why)
    });
    Ok(jobs.collect())
}
