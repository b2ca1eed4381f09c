//! What becomes of a job once its run has ended: done, again, or given up. Whatever has ended meanwhile
//! is settled in one transaction: the busier the node, the fewer there are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::types::PgInterval;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::batch::Settlement;
use super::job::{JobRow, LOST, interval};
use super::node::LEASE;
use super::worker::Running;
use super::{caught, ended};
use crate::app::App;
use crate::error::{Error, Kind, Result};
use crate::metrics::JobEnd;
use crate::time::Timestamp;
use crate::tx::SystemTx;

/// How many jobs are settled in one transaction.
const AT_ONCE: usize = 512;
/// How often what is not found is looked for again: it may have changed as it was being found.
const AGAIN: usize = 2;
/// Between two attempts while the database is away.
const PAUSE: Duration = Duration::from_millis(250);
/// Why a job ended that somebody cancelled, and what its row then says.
pub(super) const CANCELLED: &str = "core.job_cancelled";

/// Jobs that were run one by one and did not settle themselves.
pub(super) struct Done {
    ended: UnboundedSender<Running>,
    serve: Mutex<Option<UnboundedReceiver<Running>>>,
}

impl Default for Done {
    fn default() -> Self {
        // Lanes bound how much is claimed, so the channel need not.
        let (ended, jobs) = unbounded_channel();
        Self { ended, serve: Mutex::new(Some(jobs)) }
    }
}

impl Done {
    pub(super) fn push(&self, running: Running) {
        // Fails only while the node stops; what is dropped here is handed back.
        let _ = self.ended.send(running);
    }

    fn take(&self) -> Option<UnboundedReceiver<Running>> {
        self.serve.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Settles what was run well, until the process stops.
pub(super) async fn serve(app: Arc<App>) {
    let Some(mut ended) = app.queue().done().take() else { return };
    let mut batch = Vec::with_capacity(AT_ONCE);
    while ended.recv_many(&mut batch, AT_ONCE).await > 0 {
        if let Err(error) = patiently(|| finish_all(&app, &batch)).await {
            // Their lease is this node's: nobody else would take them while it lives.
            tracing::error!(%error, "jobs that were done could not be settled; they are one by one");
            for running in &batch {
                if let Err(error) = settle(&app, &running.row, Ok(())).await {
                    tracing::error!(job = %running.row.id, %error, "a job could not be settled");
                }
            }
        }
        batch.clear();
    }
}

/// Does it again while the database is away, for as long as this node's jobs may be its own.
pub(super) async fn patiently<F>(mut settle: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let began = Instant::now();
    loop {
        match settle().await {
            Err(error) if error.kind() == Kind::Unavailable && began.elapsed() < 2 * LEASE => {
                tracing::warn!(%error, "jobs are settled later");
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn finish_all(app: &Arc<App>, batch: &[Running]) -> Result<()> {
    let mut done = Ids::default();
    batch.iter().for_each(|running| done.push(app, &running.row));
    let mut tx = SystemTx::begin(app.origin()).await?;
    // Those that somebody else has taken over are theirs to settle.
    finish_many(&mut tx, &done).await?;
    tx.commit().await?;
    batch.iter().for_each(|running| ended(app, &running.row.kind, JobEnd::Done));
    Ok(())
}

/// Finishes, repeats or gives up, unless somebody else has taken the job over.
pub(super) async fn settle(app: &Arc<App>, row: &JobRow, result: Result<()>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let Err(error) = result else {
        let mut done = Ids::default();
        done.push(app, row);
        finish_many(&mut tx, &done).await?;
        tx.commit().await?;
        ended(app, &row.kind, JobEnd::Done);
        return Ok(());
    };
    if error.code() == CANCELLED {
        return give_up(app, tx, row, Dead::Cancelled, &error.to_string()).await;
    }
    let text = error.to_string();
    tracing::warn!(job = %row.id, kind = row.kind, attempt = row.attempts, %text, "a job failed");
    let kind = app.job_kind(&row.kind);
    let Some(wait) = kind.and_then(|kind| (kind.retry_after)(row.failures.saturating_add(1)))
    else {
        return give_up(app, tx, row, Dead::Failed, &text).await;
    };
    let mut again = Again { failures: 1, ..Again::default() };
    again.push(app, row, wait, None, text);
    repeat_many(&mut tx, &again).await?;
    tx.commit().await?;
    ended(app, &row.kind, JobEnd::Failed);
    Ok(())
}

/// Settles the runs of a batch in the transaction that writes them down.
///
/// # Errors
/// `core.job_lost` when one of them has been taken over: then none of this may be kept.
pub(super) async fn settle_many(
    app: &App,
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
            Settlement::Done => done.push(app, &running.row),
            Settlement::Again { after, why } => {
                let virtual_at = tx.virtual_time(running.row.tenant, after);
                again.push(app, &running.row, after, virtual_at, why);
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
    kept: Vec<bool>,
}

impl Ids {
    fn count(&self) -> i64 {
        i64::try_from(self.jobs.len()).unwrap_or(i64::MAX)
    }

    fn push(&mut self, app: &App, row: &JobRow) {
        self.jobs.push(row.id);
        self.claims.push(row.claim);
        self.kept.push(app.job_kind(&row.kind).is_some_and(|kind| kind.kept));
    }
}

/// Jobs that run again, likewise.
#[derive(Default)]
struct Again {
    ids: Ids,
    waits: Vec<PgInterval>,
    virtual_ats: Vec<Option<Timestamp>>,
    whys: Vec<String>,
    /// What this adds to the count of failures; none begins it anew.
    failures: i32,
}

impl Again {
    fn push(
        &mut self,
        app: &App,
        row: &JobRow,
        wait: Duration,
        virtual_at: Option<Timestamp>,
        why: String,
    ) {
        self.ids.push(app, row);
        self.waits.push(interval(wait));
        self.virtual_ats.push(virtual_at);
        self.whys.push(why);
    }
}

async fn finish_many(tx: &mut SystemTx, done: &Ids) -> Result<i64> {
    let mut finished = finish_found(tx, done).await?;
    for _ in 0..AGAIN {
        if finished < done.count() {
            finished += finish_found(tx, done).await?;
        }
    }
    Ok(finished)
}

/// Finishes those that are here. What changes while it is being found, as when somebody cancels it, is
/// found by the next statement.
async fn finish_found(tx: &mut SystemTx, done: &Ids) -> Result<i64> {
    if done.jobs.is_empty() {
        return Ok(0);
    }
    let finished = sqlx::query_scalar!(
        r#"with held as (
           select j.place, h.kept
           from unnest($1::uuid[], $2::uuid[], $3::bool[]) as h (id, claim, kept)
           cross join lateral (
             select ctid as place from core.jobs where id = h.id and claim = h.claim limit 1) as j
         ), done as (
           delete from core.jobs j using held h where j.ctid = h.place returning j.*, h.kept
         ), kept as (
           insert into core.jobs_done
             (id, lane, kind, tenant_id, queue, priority, payload, attempts, created_at, started_at)
           select id, lane, kind, tenant_id, queue, priority, payload, attempts, created_at, started_at
           from done where kept
         )
         select count(*) as "count!" from done"#,
        &done.jobs,
        &done.claims,
        &done.kept,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(finished)
}

async fn repeat_many(tx: &mut SystemTx, again: &Again) -> Result<i64> {
    let mut repeated = repeat_found(tx, again).await?;
    for _ in 0..AGAIN {
        if repeated < again.ids.count() {
            repeated += repeat_found(tx, again).await?;
        }
    }
    Ok(repeated)
}

/// As [`finish_found`]. A job whose like waits as well, under the same unique key, makes way.
async fn repeat_found(tx: &mut SystemTx, again: &Again) -> Result<i64> {
    if again.ids.jobs.is_empty() {
        return Ok(0);
    }
    let repeated = sqlx::query_scalar!(
        r#"with held as (
           select j.place, h.*
           from unnest($1::uuid[], $2::uuid[], $3::interval[], $4::timestamptz[], $5::text[])
             as h (id, claim, wait, virtual_at, why)
           cross join lateral (
             select ctid as place from core.jobs where id = h.id and claim = h.claim limit 1) as j
         ), gone as (
           delete from core.jobs j using held h
           where j.ctid = h.place and j.unique_key is not null and exists (
             select from core.jobs o where o.tenant_id = j.tenant_id and o.kind = j.kind
               and o.unique_key = j.unique_key and o.state <> 'active' and o.cancelled_by is null)
           returning j.id
         ), again as (
           update core.jobs j
           set claim = null, node = null, state = 'delayed', last_error = h.why,
             virtual_at = h.virtual_at, crashes = case when $6::int = 0 then 0 else crashes end,
             failures = case when $6::int = 0 then 0 else failures + $6::int end, run_at =
               case when h.virtual_at is null then clock_timestamp() + h.wait else 'infinity' end
           from held h
           where j.ctid = h.place and j.id not in (select id from gone)
           returning j.id
         )
         select (select count(*) from gone) + (select count(*) from again) as "count!""#,
        &again.ids.jobs,
        &again.ids.claims,
        &again.waits,
        &again.virtual_ats as _,
        &again.whys,
        again.failures,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(repeated)
}

/// How a job ends that is not done.
#[derive(Clone, Copy)]
pub(super) enum Dead {
    Failed,
    Cancelled,
}

/// Gives a job up and tells its kind. A kind that cannot take it changes nothing about that.
pub(super) async fn give_up(
    app: &Arc<App>,
    mut tx: SystemTx,
    row: &JobRow,
    dead: Dead,
    why: &str,
) -> Result<()> {
    if !bury(&mut tx, row, dead, why).await? {
        return Ok(());
    }
    ended(app, &row.kind, JobEnd::GivenUp);
    let told = tell(app, &mut tx, row, why).await;
    let committed = match told {
        Ok(()) => tx.commit().await,
        Err(error) => {
            // It holds the row that is buried again below.
            drop(tx);
            Err(error)
        }
    };
    let Err(error) = committed else { return Ok(()) };
    tracing::error!(job = %row.id, kind = row.kind, %error, "nobody was told of a job given up");
    let mut tx = SystemTx::begin(app.origin()).await?;
    bury(&mut tx, row, dead, why).await?;
    tx.commit().await
}

async fn tell(app: &Arc<App>, tx: &mut SystemTx, row: &JobRow, why: &str) -> Result<()> {
    let Some(kind) = app.job_kind(&row.kind) else { return Ok(()) };
    caught((kind.given_up)(tx, row.tenant, &row.payload, why)).await
}

/// Whether the job was still ours to bury.
async fn bury(tx: &mut SystemTx, row: &JobRow, dead: Dead, why: &str) -> Result<bool> {
    let state = match dead {
        Dead::Failed => "failed",
        Dead::Cancelled => "cancelled",
    };
    let buried = sqlx::query!(
        "with dead as (delete from core.jobs where id = $1 and claim = $2 returning *)
         insert into core.jobs_dead (id, lane, kind, tenant_id, queue, priority, unique_key, payload,
           attempts, crashes, error, created_at, state)
         select id, lane, kind, tenant_id, queue, priority, unique_key, payload, attempts, crashes,
           case when $4 = 'cancelled' then 'cancelled by ' || cancelled_by else $3 end, created_at, $4
         from dead",
        row.id,
        row.claim,
        why,
        state,
    )
    .execute(tx.db())
    .await?;
    Ok(buried.rows_affected() == 1)
}
