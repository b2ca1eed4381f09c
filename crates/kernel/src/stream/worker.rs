//! Workers: a node takes at once what it commits itself; one claimer per lane looks for the rest and
//! hands it out in batches under a lease.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::batch::Pipeline;
use super::caught;
use super::claim::{LEASE, claim, settle};
use super::job::{JobCx, JobKind, JobRow, LOST, Lane, NewJob, Work};
use crate::app::App;
use crate::database::Db;
use crate::error::{Error, Result};
use crate::metrics::job_ended;
use crate::trace;

const CLAIM_MAX: usize = 64;

/// A job in flight: no longer once this is dropped, however the run ends.
pub(super) struct Running {
    pub(super) app: Arc<App>,
    lane: Lane,
    pub(super) row: JobRow,
    _slot: OwnedSemaphorePermit,
}

impl Running {
    fn new(app: &Arc<App>, lane: Lane, row: JobRow, slot: OwnedSemaphorePermit) -> Self {
        app.in_flight().add(lane, &row);
        Self { app: app.clone(), lane, row, _slot: slot }
    }

    /// A job that begins when it is committed, if this node works on its kind and has room.
    fn now(app: &Arc<App>, job: &NewJob) -> Option<Self> {
        let kind = app.job_kind(job.kind).filter(|_| app.takes_jobs() && job.is_due())?;
        let slot = app.in_flight().slots(job.lane).clone().try_acquire_owned().ok()?;
        let key = job.key.as_deref().map(|key| (kind, key));
        if !app.in_flight().has_room(job.lane, job.tenant, key) {
            return None;
        }
        let row = JobRow {
            id: job.id,
            claim: Uuid::now_v7(),
            kind: job.kind.to_owned(),
            tenant: job.tenant,
            key: job.key.clone(),
            payload: job.payload.clone(),
            attempts: 1,
            failures: 0,
        };
        Some(Self::new(app, job.lane, row, slot))
    }

    /// Waits until fewer of its key run than may. A node may have taken more than that.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let (kind, key) = (self.app.job_kind(&self.row.kind)?, self.row.key.as_deref()?);
        self.app.in_flight().turn(kind, key).acquire_owned().await.ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.app.in_flight().remove(&self.app, self.lane, &self.row) {
            self.app.wakers().lane(self.lane).notify_one();
        }
    }
}

/// Jobs of a transaction that is about to commit. Those that this node has room for are its own from
/// the first moment, so that nobody need look for them.
#[derive(Default)]
pub(crate) struct HandOver {
    own: Vec<Running>,
    /// Lanes with jobs that somebody has to look for.
    others: Vec<Lane>,
}

impl HandOver {
    /// Writes the jobs.
    pub(crate) async fn write(app: &Arc<App>, db: &mut Db, jobs: &[NewJob]) -> Result<Self> {
        let mut hand_over = Self::default();
        let claims: Vec<Option<Uuid>> = jobs.iter().map(|job| hand_over.place(app, job)).collect();
        super::job::write(db, jobs, &claims, LEASE).await?;
        Ok(hand_over)
    }

    fn place(&mut self, app: &Arc<App>, job: &NewJob) -> Option<Uuid> {
        match Running::now(app, job) {
            Some(running) => {
                let claim = running.row.claim;
                self.own.push(running);
                Some(claim)
            }
            None => {
                self.others.push(job.lane);
                None
            }
        }
    }

    /// Starts what is this node's and wakes who looks for the rest. After the commit; dropped
    /// without it, this leaves nothing behind.
    pub(crate) fn start(self, app: &App) {
        self.others.iter().for_each(|lane| app.wakers().lane(*lane).notify_one());
        set_off(app, self.own);
    }
}

/// Hands jobs to what works on their kind.
fn set_off(app: &App, jobs: Vec<Running>) {
    let mut batches: HashMap<&str, (&Pipeline, Vec<Running>)> = HashMap::new();
    for running in jobs {
        match app.job_kind(&running.row.kind) {
            Some(JobKind { name, work: Work::Together(pipeline), .. }) => {
                batches.entry(name).or_insert((pipeline, Vec::new())).1.push(running);
            }
            Some(JobKind { work: Work::Alone(_), .. }) | None => app.run_job(run(running)),
        }
    }
    for (pipeline, batch) in batches.into_values() {
        pipeline.push(batch);
    }
}

/// Works a lane off, whenever there is something.
pub(super) async fn work(app: Arc<App>, lane: Lane) {
    loop {
        match hand_out(&app, lane).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(?lane, %error, "jobs could not be claimed"),
        }
        app.wakers().lane(lane).notified().await;
    }
}

/// Claims as many as there are slots for; says whether it is worth looking again at once.
async fn hand_out(app: &Arc<App>, lane: Lane) -> Result<bool> {
    let slots = app.in_flight().slots(lane);
    let free = slots.available_permits().min(CLAIM_MAX);
    if free == 0 {
        // A slot that becomes free is the next chance.
        drop(slots.acquire().await);
        return Ok(true);
    }
    if !app.takes_jobs() {
        return Ok(false);
    }
    let rows = claim(app, lane, free).await?;
    let some = !rows.is_empty();
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        let slot = slots.clone().acquire_owned().await.map_err(Error::internal)?;
        jobs.push(Running::new(app, lane, row, slot));
    }
    set_off(app, jobs);
    Ok(some)
}

async fn run(running: Running) {
    let Running { app, row, .. } = &running;
    let _turn = running.turn().await;
    let Some(result) = attempt(app, row).await else { return };
    if let Err(error) = settle(app, row, result).await {
        // The lease runs out by itself and the job is handed out again.
        tracing::warn!(job = %row.id, kind = row.kind, %error, "a job could not be settled");
    }
}

/// Runs a job to its end. `None`: nothing is left to settle.
async fn attempt(app: &Arc<App>, row: &JobRow) -> Option<Result<()>> {
    let Some(JobKind { name, work: Work::Alone(run), timeout, .. }) = app.job_kind(&row.kind)
    else {
        return Some(Err(Error::internal(format!("no module works on jobs of kind {}", row.kind))));
    };
    let mut span = trace::of_job(app, name, row.id).await;
    let cx = JobCx::new(app, row, span.cause());
    let work = span.around(caught(run(cx.clone(), row.payload.clone())));
    let result = tokio::time::timeout(*timeout, work).await.unwrap_or_else(|_| {
        Err(Error::internal(format!("took longer than {} s", timeout.as_secs_f32())))
    });
    if result.is_err() {
        span.failed();
    }
    match result {
        Ok(()) if cx.is_settled() => {
            job_ended(app, &row.kind, cx.end());
            None
        }
        Err(error) if cx.is_settled() || error.code() == LOST => {
            tracing::info!(job = %row.id, kind = row.kind, %error, "a job failed that was settled");
            None
        }
        result => Some(result),
    }
}
