//! Workers: one claimer per lane and node hands jobs out in batches under a lease; each runs in a
//! task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::caught;
use super::job::{JobCx, JobRow, LOST, Lane, interval};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::tx::SystemTx;

/// How long a job is held before somebody else may take it over; renewed while it runs.
const LEASE: Duration = Duration::from_secs(30);
const CLAIM_MAX: usize = 64;
/// A job whose worker died this often is given up: it may be what kills them.
const CRASHES_MAX: i32 = 3;

/// A job in flight: no longer once this is dropped, however the run ends.
struct Running {
    app: Arc<App>,
    lane: Lane,
    row: JobRow,
    _slot: OwnedSemaphorePermit,
}

impl Running {
    fn new(app: &Arc<App>, lane: Lane, row: JobRow, slot: OwnedSemaphorePermit) -> Self {
        app.in_flight().add(&row);
        Self { app: app.clone(), lane, row, _slot: slot }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.app.in_flight().remove(&self.row);
        // One of the same key may have been waiting for this.
        if self.row.key.is_some() {
            self.app.wakers().lane(self.lane).notify_one();
        }
    }
}

/// Works a lane off, whenever there is something.
pub(super) async fn work(app: Arc<App>, lane: Lane) {
    let slots = Arc::new(Semaphore::new(lane.slots()));
    // Ends its jobs when it is dropped.
    let mut jobs = JoinSet::new();
    loop {
        while jobs.try_join_next().is_some() {}
        match hand_out(&app, lane, &slots, &mut jobs).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(?lane, %error, "jobs could not be claimed"),
        }
        app.wakers().lane(lane).notified().await;
    }
}

/// Claims as many as there are slots for; says whether it is worth looking again at once.
async fn hand_out(
    app: &Arc<App>,
    lane: Lane,
    slots: &Arc<Semaphore>,
    jobs: &mut JoinSet<()>,
) -> Result<bool> {
    let free = slots.available_permits().min(CLAIM_MAX);
    if free == 0 {
        // A slot that becomes free is the next chance.
        drop(slots.acquire().await);
        return Ok(true);
    }
    if app.is_stopping() {
        return Ok(false);
    }
    let rows = claim(app, lane, free).await?;
    let some = !rows.is_empty();
    for row in rows {
        let slot = slots.clone().acquire_owned().await.map_err(Error::internal)?;
        jobs.spawn(run(Running::new(app, lane, row, slot)));
    }
    Ok(some)
}

/// The oldest due jobs of the kinds that this node knows (a newer release knows more), no more per
/// key than may run at once.
async fn claim(app: &Arc<App>, lane: Lane, free: usize) -> Result<Vec<JobRow>> {
    let (claim, limit) = (Uuid::now_v7(), i64::try_from(free).unwrap_or(1));
    let held = app.in_flight().keys(app);
    let (kinds, per_key): (Vec<String>, Vec<i32>) = app
        .job_kinds()
        .filter(|kind| kind.lane == lane)
        .map(|kind| (kind.name.to_owned(), i32::try_from(kind.per_key).unwrap_or(i32::MAX)))
        .unzip();
    let mut tx = SystemTx::begin(app.origin()).await?;
    let rows = sqlx::query!(
        r#"with due as (
           select id, kind, key, run_at from core.jobs
           where lane = $1 and claim is null and run_at <= clock_timestamp() and kind = any($2)
             and (key is null or kind || '/' || key <> all($4))
           order by run_at, id limit $8::bigint * 2 for update skip locked
         ), placed as (
           select due.*, row_number() over (partition by kind, key order by run_at, id) as place
           from due
         ), fair as (
           select p.id from placed p
           join unnest($2::text[], $3::int[]) as k (kind, per_key) on k.kind = p.kind
           left join unnest($5::text[], $6::text[], $7::int[]) as h (kind, key, count)
             on h.kind = p.kind and h.key = p.key
           where p.key is null or p.place + coalesce(h.count, 0) <= k.per_key
           order by p.run_at, p.id limit $8::bigint
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

async fn run(running: Running) {
    let Running { app, row, .. } = &running;
    let Some(result) = attempt(app, row).await else { return };
    if let Err(error) = settle(app, row, result).await {
        // The lease runs out by itself and the job is handed out again.
        tracing::warn!(job = %row.id, kind = row.kind, %error, "a job could not be settled");
    }
}

/// Runs a job to its end. `None`: nothing is left to settle.
async fn attempt(app: &Arc<App>, row: &JobRow) -> Option<Result<()>> {
    let Some(kind) = app.job_kind(&row.kind) else {
        return Some(Err(Error::internal(format!("no module works on jobs of kind {}", row.kind))));
    };
    let cx = JobCx::new(app, row);
    let work = caught((kind.run)(cx.clone(), row.payload.clone()));
    let result = tokio::time::timeout(kind.timeout, work).await.unwrap_or_else(|_| {
        Err(Error::internal(format!("took longer than {} s", kind.timeout.as_secs_f32())))
    });
    match result {
        Ok(()) if cx.is_settled() => None,
        Err(error) if cx.is_settled() || error.code() == LOST => {
            tracing::info!(job = %row.id, kind = row.kind, %error, "a job failed that was settled");
            None
        }
        result => Some(result),
    }
}

/// Finishes, repeats or gives up, unless somebody else has taken the job over.
async fn settle(app: &Arc<App>, row: &JobRow, result: Result<()>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    match result {
        Ok(()) => {
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
                }
                None => bury(&mut tx, row.id, row.claim, &text).await?,
            }
        }
    }
    tx.commit().await
}

async fn bury(tx: &mut SystemTx, id: Uuid, claim: Uuid, error: &str) -> Result<()> {
    sqlx::query!(
        "with dead as (delete from core.jobs where id = $1 and claim = $2 returning *)
         insert into core.jobs_dead
           (id, lane, kind, tenant_id, key, payload, attempts, crashes, error, created_at)
         select id, lane, kind, tenant_id, key, payload, attempts, crashes, $3, created_at from dead",
        id,
        claim,
        error,
    )
    .execute(tx.db())
    .await?;
    Ok(())
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
           where j.lease_until > clock_timestamp()
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
    let mut tx = SystemTx::begin(app.origin()).await?;
    sqlx::query!(
        "with lost as (
           select id from core.jobs where claim is not null and lease_until < clock_timestamp()
           for update skip locked limit 1000
         ), dead as (
           delete from core.jobs j using lost
           where j.id = lost.id and j.crashes + 1 >= $1 returning j.*
         ), buried as (
           insert into core.jobs_dead
             (id, lane, kind, tenant_id, key, payload, attempts, crashes, error, created_at)
           select id, lane, kind, tenant_id, key, payload, attempts, crashes + 1, 'stalled', created_at
           from dead
         )
         update core.jobs j
         set claim = null, lease_until = null, crashes = crashes + 1, run_at = clock_timestamp()
         from lost where j.id = lost.id and j.crashes + 1 < $1",
        CRASHES_MAX,
    )
    .execute(tx.db())
    .await?;
    tx.commit().await
}
