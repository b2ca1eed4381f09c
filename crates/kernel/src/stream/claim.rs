//! Claims: jobs taken under a lease, settled, given back, taken back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::batch::Settlement;
use super::caught;
use super::job::{JobRow, LOST, Lane, interval};
use super::worker::Running;
use crate::app::App;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::metrics::{JobEnd, job_ended};
use crate::time::Timestamp;
use crate::tx::SystemTx;

/// How long a job is held before somebody else may take it over; renewed while it runs.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// A job whose worker died this often is given up: it may be what kills them.
const CRASHES_MAX: i32 = 3;

/// The oldest due jobs of the kinds that this node knows (a newer release knows more), no more per
/// key and per tenant than this node may hold.
pub(super) async fn claim(app: &Arc<App>, lane: Lane, free: usize) -> Result<Vec<JobRow>> {
    let (claim, limit) = (Uuid::now_v7(), i64::try_from(free).unwrap_or(1));
    let held = app.in_flight().keys(app);
    let (kinds, per_key): (Vec<String>, Vec<i32>) = app
        .job_kinds()
        .filter(|kind| kind.lane == lane)
        .map(|kind| (kind.name.to_owned(), i32::try_from(kind.per_key).unwrap_or(i32::MAX)))
        .unzip();
    let tenants = app.in_flight().tenants(lane);
    let mut tx = SystemTx::begin_redoable(app.origin()).await?;
    let rows = sqlx::query!(
        r#"with due as (
           select id, kind, tenant_id, key, run_at from core.jobs
           where lane = $1 and claim is null and run_at <= statement_timestamp() and kind = any($2)
             and (key is null or kind || '/' || key <> all($4)) and tenant_id <> all($11)
           order by run_at, id limit $8::bigint * 2 for update skip locked
         ), placed as (
           select due.*, row_number() over (partition by kind, key order by run_at, id) as place
           from due
         ), turns as (
           select p.id, p.tenant_id, p.run_at,
             row_number() over (partition by p.tenant_id order by p.run_at, p.id) as place
           from placed p
           join unnest($2::text[], $3::int[]) as k (kind, per_key) on k.kind = p.kind
           left join unnest($5::text[], $6::text[], $7::int[]) as h (kind, key, count)
             on h.kind = p.kind and h.key = p.key
           where p.key is null or p.place + coalesce(h.count, 0) <= k.per_key
         ), fair as (
           select t.id from turns t
           left join unnest($12::uuid[], $13::int[]) as h (tenant_id, count)
             on h.tenant_id = t.tenant_id
           where t.place + coalesce(h.count, 0) <= $14::int
           order by t.run_at, t.id limit $8::bigint
         )
         update core.jobs j
         set claim = $9, lease_until = clock_timestamp() + $10, attempts = attempts + 1
         from fair where j.id = fair.id
         returning j.id, j.kind, j.tenant_id, j.key, j.payload, j.attempts, j.failures"#,
        lane.number(),
        &kinds,
        &per_key,
        &held.full,
        &held.kinds,
        &held.keys,
        &held.counts,
        limit,
        claim,
        interval(LEASE),
        &tenants.full,
        &tenants.ids,
        &tenants.counts,
        i32::try_from(lane.slots_per_tenant()).unwrap_or(i32::MAX),
    )
    .fetch_all(tx.db())
    .await?;
    tx.commit().await?;
    let claimed = rows.into_iter().map(|row| JobRow {
        id: row.id,
        claim,
        kind: row.kind,
        tenant: TenantId::from_uuid(row.tenant_id),
        key: row.key,
        payload: row.payload,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
    });
    Ok(claimed.collect())
}

/// Finishes, repeats or gives up, unless somebody else has taken the job over.
pub(super) async fn settle(app: &Arc<App>, row: &JobRow, result: Result<()>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    match result {
        Ok(()) => {
            job_ended(app, &row.kind, JobEnd::Done);
            sqlx::query!("delete from core.jobs where id = $1 and claim = $2", row.id, row.claim)
                .execute(tx.db())
                .await?;
        }
        Err(error) => {
            let text = error.to_string();
            tracing::warn!(job = %row.id, kind = row.kind, attempt = row.attempts, %text, "a job failed");
            let wait = app
                .job_kind(&row.kind)
                .and_then(|kind| (kind.retry_after)(row.failures.saturating_add(1)));
            match wait {
                Some(wait) => {
                    sqlx::query!(
                        "update core.jobs set claim = null, lease_until = null, last_error = $3,
                           failures = failures + 1, run_at = clock_timestamp() + $4
                         where id = $1 and claim = $2",
                        row.id,
                        row.claim,
                        text,
                        interval(wait),
                    )
                    .execute(tx.db())
                    .await?;
                    job_ended(app, &row.kind, JobEnd::Failed);
                }
                None => return give_up(app, tx, row, &text).await,
            }
        }
    }
    tx.commit().await
}

/// Settles the runs of a batch in the transaction that writes them down.
///
/// # Errors
/// `core.job_lost` when one of them has been taken over: then none of this may be kept.
pub(super) async fn settle_many(
    tx: &mut SystemTx,
    running: &[Running],
    settlements: Vec<Settlement>,
) -> Result<()> {
    if settlements.len() != running.len() {
        let (ends, runs) = (settlements.len(), running.len());
        return Err(Error::internal(format!("{ends} settlements for {runs} runs")));
    }
    let (mut done, mut again) = (Ids::default(), Again::default());
    for (running, settlement) in running.iter().zip(settlements) {
        match settlement {
            Settlement::Done => done.push(&running.row),
            Settlement::Again { after, why } => {
                again.ids.push(&running.row);
                again.waits.push(interval(after));
                again.virtual_ats.push(tx.virtual_time(running.row.tenant, after));
                again.whys.push(why);
            }
        }
    }
    let settled = finish_many(tx, &done).await? + repeat_many(tx, &again).await?;
    if usize::try_from(settled).is_ok_and(|settled| settled == running.len()) {
        return Ok(());
    }
    Err(Error::conflict(LOST, "Somebody else has taken over a job of this batch."))
}

/// Jobs under their claims, as the columns of a statement.
#[derive(Default)]
struct Ids {
    jobs: Vec<Uuid>,
    claims: Vec<Uuid>,
}

impl Ids {
    fn push(&mut self, row: &JobRow) {
        self.jobs.push(row.id);
        self.claims.push(row.claim);
    }
}

/// Jobs that run again, likewise.
#[derive(Default)]
struct Again {
    ids: Ids,
    waits: Vec<PgInterval>,
    virtual_ats: Vec<Option<Timestamp>>,
    whys: Vec<String>,
}

async fn finish_many(tx: &mut SystemTx, done: &Ids) -> Result<u64> {
    if done.jobs.is_empty() {
        return Ok(0);
    }
    let finished = sqlx::query!(
        "delete from core.jobs j using unnest($1::uuid[], $2::uuid[]) as h (id, claim)
         where j.id = h.id and j.claim = h.claim",
        &done.jobs,
        &done.claims,
    )
    .execute(tx.db())
    .await?;
    Ok(finished.rows_affected())
}

async fn repeat_many(tx: &mut SystemTx, again: &Again) -> Result<u64> {
    if again.ids.jobs.is_empty() {
        return Ok(0);
    }
    let repeated = sqlx::query!(
        "update core.jobs j
         set claim = null, lease_until = null, last_error = h.why, virtual_at = h.virtual_at,
           failures = 0, crashes = 0, run_at =
             case when h.virtual_at is null then clock_timestamp() + h.wait else 'infinity' end
         from unnest($1::uuid[], $2::uuid[], $3::interval[], $4::timestamptz[], $5::text[])
           as h (id, claim, wait, virtual_at, why)
         where j.id = h.id and j.claim = h.claim",
        &again.ids.jobs,
        &again.ids.claims,
        &again.waits,
        &again.virtual_ats as _,
        &again.whys,
    )
    .execute(tx.db())
    .await?;
    Ok(repeated.rows_affected())
}

/// Gives a job up and tells its kind. A kind that cannot take it changes nothing about that.
async fn give_up(app: &Arc<App>, mut tx: SystemTx, row: &JobRow, why: &str) -> Result<()> {
    if !bury(&mut tx, row, why).await? {
        return Ok(());
    }
    job_ended(app, &row.kind, JobEnd::GivenUp);
    let told = tell(app, &mut tx, &row.kind, row.tenant, row.payload.clone(), why).await;
    let committed = match told {
        Ok(()) => tx.commit().await,
        Err(error) => Err(error),
    };
    let Err(error) = committed else { return Ok(()) };
    tracing::error!(job = %row.id, kind = row.kind, %error, "nobody was told of a job given up");
    let mut tx = SystemTx::begin(app.origin()).await?;
    bury(&mut tx, row, why).await?;
    tx.commit().await
}

async fn tell(
    app: &Arc<App>,
    tx: &mut SystemTx,
    kind: &str,
    tenant: TenantId,
    payload: Value,
    why: &str,
) -> Result<()> {
    let Some(kind) = app.job_kind(kind) else { return Ok(()) };
    caught((kind.given_up)(tx, tenant, payload, why)).await
}

/// Whether the job was still ours to bury.
async fn bury(tx: &mut SystemTx, row: &JobRow, why: &str) -> Result<bool> {
    let buried = sqlx::query!(
        "with dead as (delete from core.jobs where id = $1 and claim = $2 returning *)
         insert into core.jobs_dead
           (id, lane, kind, tenant_id, key, payload, attempts, crashes, error, created_at)
         select id, lane, kind, tenant_id, key, payload, attempts, crashes, $3, created_at from dead",
        row.id,
        row.claim,
        why,
    )
    .execute(tx.db())
    .await?;
    Ok(buried.rows_affected() == 1)
}

/// Keeps this node's jobs its own. Passes over one that is being settled at this moment: waiting
/// for it could cost all others their lease.
pub(super) async fn renew_leases(app: &Arc<App>) -> Result<()> {
    let (jobs, claims) = app.in_flight().jobs();
    if jobs.is_empty() {
        return Ok(());
    }
    let mut tx = SystemTx::begin(app.origin()).await?;
    sqlx::query!(
        "with held as (
           select j.id from core.jobs j
           join unnest($1::uuid[], $2::uuid[]) as h (id, claim) on j.id = h.id and j.claim = h.claim
           where j.lease_until > statement_timestamp()
           for update of j skip locked
         )
         update core.jobs j set lease_until = clock_timestamp() + $3 from held where j.id = held.id",
        &jobs,
        &claims,
        interval(LEASE),
    )
    .execute(tx.db())
    .await?;
    tx.commit().await
}

/// Gives back what this node still works on when it stops, so that others need not wait for the
/// leases to run out. Whatever ends here after this comes too late.
pub(crate) async fn hand_back(app: &Arc<App>) -> Result<()> {
    let (jobs, claims) = app.in_flight().jobs();
    if jobs.is_empty() {
        return Ok(());
    }
    let mut tx = SystemTx::begin(app.origin()).await?;
    sqlx::query!(
        "update core.jobs j
         set claim = null, lease_until = null, run_at = clock_timestamp(), attempts = attempts - 1
         from unnest($1::uuid[], $2::uuid[]) as h (id, claim)
         where j.id = h.id and j.claim = h.claim",
        &jobs,
        &claims,
    )
    .execute(tx.db())
    .await?;
    tx.commit().await
}

/// Takes back jobs whose node has gone; gives up those that have outlived too many.
pub(super) async fn reclaim(app: &Arc<App>) -> Result<()> {
    let own = Uuid::now_v7();
    let mut tx = SystemTx::begin(app.origin()).await?;
    // What is to be given up is held like any other job until it has been.
    let lost = sqlx::query!(
        r#"with lost as (
           select id, crashes + 1 >= $1 as stalled from core.jobs
           where claim is not null and lease_until < statement_timestamp()
           for update skip locked limit 1000
         )
         update core.jobs j
         set crashes = crashes + 1, run_at = clock_timestamp(),
           claim = case when stalled then $2::uuid end,
           lease_until = case when stalled then clock_timestamp() + $3 end
         from lost where j.id = lost.id
         returning j.id, j.kind, j.tenant_id, j.key, j.payload, j.attempts, j.failures,
           lost.stalled as "stalled!""#,
        CRASHES_MAX,
        own,
        interval(LEASE),
    )
    .fetch_all(tx.db())
    .await?;
    tx.commit().await?;
    for row in lost.into_iter().filter(|row| row.stalled) {
        let row = JobRow {
            id: row.id,
            claim: own,
            kind: row.kind,
            tenant: TenantId::from_uuid(row.tenant_id),
            key: row.key,
            payload: row.payload,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
        };
        give_up(app, SystemTx::begin(app.origin()).await?, &row, "stalled").await?;
    }
    Ok(())
}
