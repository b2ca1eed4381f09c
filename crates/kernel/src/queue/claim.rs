//! Finding and taking jobs that wait: which queues have some, and the next of those whose turn it is.

use std::sync::Arc;

use uuid::Uuid;

use super::job::{JobRow, Lane};
use super::waiting::{QueueId, Share};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::Result;
use crate::time::Timestamp;
use crate::tx::SystemTx;

/// Queues found at once; the next sweep begins after the last of them.
const SWEPT_AT_ONCE: i64 = 10_000;

/// A job that was claimed, and since when it had waited.
pub(super) struct Claim {
    pub(super) row: JobRow,
    pub(super) priority: i16,
    pub(super) waited_since: Timestamp,
}

impl Claim {
    pub(super) fn queue(&self) -> QueueId {
        let JobRow { tenant, queue, .. } = &self.row;
        QueueId { tenant: *tenant, name: queue.clone(), priority: self.priority }
    }
}

/// The oldest jobs of each share. Done again if PostgreSQL dies within a second: then nobody has them.
pub(super) async fn claim(
    app: &Arc<App>,
    lane: Lane,
    node: Uuid,
    shares: &[Share],
) -> Result<Vec<Claim>> {
    let claim = Uuid::now_v7();
    let tenants: Vec<Uuid> = shares.iter().map(|share| *share.queue.tenant).collect();
    let queues: Vec<&str> = shares.iter().map(|share| &*share.queue.name).collect();
    let priorities: Vec<i16> = shares.iter().map(|share| share.queue.priority).collect();
    let sinces: Vec<Option<Timestamp>> = shares.iter().map(|share| share.since).collect();
    let counts: Vec<i32> =
        shares.iter().map(|share| i32::try_from(share.count).unwrap_or(i32::MAX)).collect();
    let mut tx = SystemTx::begin_redoable(app.origin()).await?;
    let rows = sqlx::query!(
        r#"with next as (
           select j.place
           from unnest($2::uuid[], $3::text[], $4::smallint[], $5::timestamptz[], $6::int[])
             as q (tenant_id, queue, priority, since, count)
           cross join lateral (
             select ctid as place from core.jobs
             where lane = $1 and tenant_id = q.tenant_id and queue = q.queue
               and priority = q.priority and state = 'waiting'
               and cancelled_by is null and run_at >= coalesce(q.since, '-infinity')
             order by run_at, id limit q.count for update skip locked) as j
         )
         update core.jobs j
         set state = 'active', claim = $7, node = $8, started_at = clock_timestamp(),
           attempts = attempts + 1
         from next where j.ctid = next.place
         returning j.id, j.kind, j.tenant_id, j.queue, j.priority, j.payload::text as "payload!",
           j.attempts, j.failures, j.run_at as "run_at: Timestamp""#,
        lane.number(),
        &tenants,
        &queues as _,
        &priorities,
        sinces as _,
        &counts,
        claim,
        node,
    )
    .fetch_all(tx.db())
    .await?;
    tx.commit().await?;
    let claimed = rows.into_iter().map(|row| Claim {
        priority: row.priority,
        waited_since: row.run_at,
        row: JobRow {
            id: row.id,
            claim,
            node,
            kind: row.kind,
            tenant: TenantId::from_uuid(row.tenant_id),
            queue: row.queue.into(),
            payload: row.payload,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
        },
    });
    Ok(claimed.collect())
}

/// The queues of a lane that have waiting jobs, and the oldest of each: one step in the index for
/// each queue, however many jobs it has. Where more are, from `after` on.
pub(super) async fn sweep(
    app: &Arc<App>,
    lane: Lane,
    after: Option<&QueueId>,
) -> Result<(Vec<(QueueId, Timestamp)>, bool)> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let rows = sqlx::query!(
        r#"with recursive heads as (
           (select tenant_id, queue, priority, run_at from core.jobs
            where lane = $1 and state = 'waiting' and (tenant_id, queue, priority) > ($2, $3, $4)
            order by tenant_id, queue, priority, run_at, id limit 1)
           union all
           select n.* from heads h cross join lateral (
             select tenant_id, queue, priority, run_at from core.jobs
             where lane = $1 and state = 'waiting'
               and (tenant_id, queue, priority) > (h.tenant_id, h.queue, h.priority)
             order by tenant_id, queue, priority, run_at, id limit 1) as n
         )
         select tenant_id as "tenant_id!", queue as "queue!", priority as "priority!",
           run_at as "run_at!: Timestamp"
         from heads limit $5"#,
        lane.number(),
        after.map_or(Uuid::nil(), |queue| *queue.tenant),
        after.map_or("", |queue| &*queue.name),
        after.map_or(-1, |queue| queue.priority),
        SWEPT_AT_ONCE,
    )
    .fetch_all(tx.db())
    .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|found| found == SWEPT_AT_ONCE);
    let found = rows.into_iter().map(|row| {
        let tenant = TenantId::from_uuid(row.tenant_id);
        (QueueId { tenant, name: row.queue.into(), priority: row.priority }, row.run_at)
    });
    Ok((found.collect(), full))
}
