//! Workers: one claimer per lane and node hands jobs out in batches under a lease; each runs in a
//! task of its own.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::batch::Pipeline;
use super::caught;
use super::claim::{claim, settle};
use super::job::{JobCx, JobKind, JobRow, LOST, Lane, Work};
use crate::app::App;
use crate::error::{Error, Result};

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
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.app.in_flight().remove(&self.app, self.lane, &self.row) {
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
    let mut batches: HashMap<&str, (&Pipeline, Vec<Running>)> = HashMap::new();
    for row in rows {
        let slot = slots.clone().acquire_owned().await.map_err(Error::internal)?;
        let running = Running::new(app, lane, row, slot);
        match app.job_kind(&running.row.kind) {
            Some(JobKind { name, work: Work::Together(pipeline), .. }) => {
                batches.entry(name).or_insert((pipeline, Vec::new())).1.push(running);
            }
            Some(JobKind { work: Work::Alone(_), .. }) | None => drop(jobs.spawn(run(running))),
        }
    }
    for (pipeline, batch) in batches.into_values() {
        pipeline.push(batch);
    }
    Ok(some)
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
    let Some(JobKind { work: Work::Alone(run), timeout, .. }) = app.job_kind(&row.kind) else {
        return Some(Err(Error::internal(format!("no module works on jobs of kind {}", row.kind))));
    };
    let cx = JobCx::new(app, row);
    let work = caught(run(cx.clone(), row.payload.clone()));
    let result = tokio::time::timeout(*timeout, work).await.unwrap_or_else(|_| {
        Err(Error::internal(format!("took longer than {} s", timeout.as_secs_f32())))
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
