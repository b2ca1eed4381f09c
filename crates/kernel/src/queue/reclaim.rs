//! Jobs that are nobody's any more: given back by a node that stops, or left behind by one that died.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::job::{JobRow, interval};
use super::node;
use super::settle::{self, Dead};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::Result;
use crate::tx::SystemTx;

/// A job whose worker died this often is given up: it may be what kills them.
const CRASHES_MAX: i32 = 3;
const AT_ONCE: i64 = 1000;
/// A job that began so long ago and is not in flight here is in nobody's hands.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Looking for those costs at most this share of the time. While a snapshot is held somewhere, a look
/// walks past all that was done since.
const SHARE: u32 = 20;

/// Gives back what this node still works on when it stops, and its place among the others, so that
/// they need not wait for its lease. Whatever ends here after this comes too late.
pub(crate) async fn hand_back(app: &Arc<App>) -> Result<()> {
    if !app.config().duties.works() {
        return Ok(());
    }
    let mut tx = SystemTx::begin(app.origin()).await?;
    let held = app.queue().in_flight().jobs();
    put_back_many(&mut tx, &held).await?;
    node::go(app, &mut tx).await?;
    tx.commit().await?;
    app.wakers().tell_now(app).await;
    Ok(())
}

/// Gives back a job that this node may not begin after all.
pub(super) async fn put_back(app: &Arc<App>, row: &JobRow) {
    let put_back = async {
        let mut tx = SystemTx::begin(app.origin()).await?;
        put_back_many(&mut tx, &(vec![row.id], vec![row.claim])).await?;
        tx.commit().await
    };
    if let Err(error) = put_back.await {
        // It is found to be in nobody's hands and taken back.
        tracing::warn!(job = %row.id, %error, "a job could not be given back");
    }
    app.wakers().tell();
}

async fn put_back_many(tx: &mut SystemTx, (jobs, claims): &(Vec<Uuid>, Vec<Uuid>)) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update core.jobs j
         set claim = null, node = null, state = 'waiting', run_at = clock_timestamp(),
           -- One with a unique key has begun, or it would be in the way of its like.
           attempts = case when unique_key is null then attempts - 1 else attempts end
         from (
           select j.place from unnest($1::uuid[], $2::uuid[]) as h (id, claim)
           cross join lateral (
             select ctid as place from core.jobs where id = h.id and claim = h.claim
             limit 1 for update) as j
         ) as held
         where j.ctid = held.place",
        jobs,
        claims,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Looks for jobs in nobody's hands, beside the signs of life: those must not wait for it.
pub(super) async fn look_for_forgotten(app: Arc<App>) {
    let mut rest = FORGOTTEN_AFTER;
    loop {
        tokio::time::sleep(rest).await;
        let began = Instant::now();
        if let Err(error) = reclaim(&app).await {
            tracing::warn!(%error, "jobs in nobody's hands could not be looked for");
        }
        rest = FORGOTTEN_AFTER.max(began.elapsed() * SHARE);
    }
}

/// Takes back jobs whose node has gone, and those of this node that nothing here works on: whoever
/// should have settled them could not. Gives up those that have outlived too many workers, and those
/// that were cancelled meanwhile.
pub(crate) async fn reclaim(app: &Arc<App>) -> Result<()> {
    let Some(node) = app.queue().node().id_of_judge() else { return Ok(()) };
    let lost = take_back(app, node).await?;
    app.queue().sweep(app);
    for (row, dead, why) in lost {
        settle::give_up(app, SystemTx::begin(app.origin()).await?, &row, dead, &why).await?;
    }
    Ok(())
}

/// Notes which nodes are gone. Answers the jobs that are to be given up; they are held like any other
/// job until they have been.
async fn take_back(app: &Arc<App>, node: Uuid) -> Result<Vec<(JobRow, Dead, String)>> {
    let claim = Uuid::now_v7();
    let (held, _) = app.queue().in_flight().jobs();
    let mut tx = SystemTx::begin(app.origin()).await?;
    sqlx::query!(
        "update core.nodes set gone_at = clock_timestamp()
         where gone_at is null and lease_until < statement_timestamp() and id <> $1",
        node,
    )
    .execute(tx.db())
    .await?;
    let lost = sqlx::query!(
        r#"with lost as (
           select j.place, crashes + 1 >= $1 or cancelled_by is not null as over
           from core.nodes n
           cross join lateral (
             select ctid as place, crashes, cancelled_by from core.jobs
             where state = 'active' and node = n.id
               and (n.gone_at is not null or id <> all($5)
                 and started_at < statement_timestamp() - $6::interval)
             limit $4 for update skip locked) as j
           where n.gone_at is not null or n.id = $3
         )
         update core.jobs j
         set crashes = crashes + 1, run_at = clock_timestamp(),
           state = case when over then 'active' else 'waiting' end,
           claim = case when over then $2::uuid end,
           node = case when over then $3::uuid end
         from lost where j.ctid = lost.place
         returning j.id, j.kind, j.tenant_id, j.queue, j.payload::text as "payload!", j.attempts,
           j.failures, j.cancelled_by, lost.over as "over!""#,
        CRASHES_MAX,
        claim,
        node,
        AT_ONCE,
        &held,
        interval(FORGOTTEN_AFTER),
    )
    .fetch_all(tx.db())
    .await?;
    tx.commit().await?;
    let over = lost.into_iter().filter(|row| row.over).map(|row| {
        let (dead, why) = match row.cancelled_by {
            Some(by) => (Dead::Cancelled, format!("cancelled by {by}")),
            None => (Dead::Failed, "stalled".to_owned()),
        };
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
        (row, dead, why)
    });
    Ok(over.collect())
}
