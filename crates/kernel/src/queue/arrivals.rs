//! What comes into the queue by itself or from elsewhere: jobs whose time has come, and those that
//! other nodes were asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::Lane;
use super::job::interval;
use super::waiting::QueueId;
use super::worker::Places;
use crate::app::App;
use crate::directory::TenantId;
use crate::error::Result;
use crate::time::Timestamp;
use crate::tx::SystemTx;

/// How many begin to wait in one transaction, and how many queues are found at once; what more there
/// is, the next look or a sweep finds.
const AT_ONCE: i64 = 5_000;

/// The oldest of a queue's jobs that have come.
pub(crate) struct Came {
    lane: i16,
    tenant_id: TenantId,
    queue: String,
    priority: i16,
    oldest: Timestamp,
    count: i64,
}

/// Lets those whose time has come wait, in its order and behind what waits already: all, or those whose
/// time came at most so long ago. Answers whether there may be more, and what is to be
/// [taken note of](came) after the commit.
pub(crate) async fn promote(
    tx: &mut SystemTx,
    back: Option<Duration>,
) -> Result<(Vec<Came>, bool)> {
    let came = sqlx::query_as!(
        Came,
        r#"with due as (
           select ctid as at, id, run_at from core.jobs
           where state = 'delayed' and run_at <= statement_timestamp()
             and run_at > coalesce(statement_timestamp() - $2::interval, '-infinity')
           order by run_at, id limit $1 for update skip locked
         ), placed as (
           select at, row_number() over (order by run_at, id) as place from due
         ), promoted as (
           update core.jobs j
           set state = 'waiting', run_at = statement_timestamp() + place * interval '1 microsecond'
           from placed where j.ctid = placed.at
           returning j.lane, j.tenant_id, j.queue, j.priority, j.run_at
         )
         select lane, tenant_id as "tenant_id: TenantId", queue, priority, min(run_at) as "oldest!: Timestamp",
           count(*) as "count!"
         from promoted group by lane, tenant_id, queue, priority"#,
        AT_ONCE,
        back.map(interval) as _,
    )
    .fetch_all(tx.db())
    .await?;
    let more = came.iter().map(|one| one.count).sum::<i64>() == AT_ONCE;
    Ok((came, more))
}

/// Jobs that were asked for at most so long ago, by their ids, which begin with the time.
pub(crate) async fn asked_for_lately(tx: &mut SystemTx, back: Duration) -> Result<Vec<Came>> {
    let ms = (SystemTime::now() - back).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let came = sqlx::query_as!(
        Came,
        r#"select lane, tenant_id as "tenant_id: TenantId", queue, priority, min(run_at) as "oldest!: Timestamp",
           count(*) as "count!"
         from core.jobs where id >= $1 and state = 'waiting'
         group by lane, tenant_id, queue, priority limit $2"#,
        Uuid::from_u128(ms << 80),
        AT_ONCE,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(came)
}

/// Lets this node work on what came.
pub(crate) fn came(app: &App, came: Vec<Came>) {
    for Came { lane, tenant_id, queue, priority, oldest, .. } in came {
        let Some(lane) = Lane::ALL.into_iter().find(|one| one.number() == lane) else { continue };
        let queue = QueueId { tenant: tenant_id, name: queue.into(), priority };
        if (Places { app, lane }).may_take(&queue) {
            app.queue().waiting(lane).came(queue, oldest);
            app.wakers().lane(lane).notify_one();
        }
    }
}
