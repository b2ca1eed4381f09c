//! Workers: a node takes at once what it commits itself; one claimer for each lane looks for the rest
//! and hands it out, to each tenant the same worker time.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::batch::Pipeline;
use super::claim::{Claim, claim, sweep};
use super::enqueue::{self, NewJob};
use super::job::{JobCx, JobKind, JobRow, KeyLimits, LOST, Lane, Work};
use super::reclaim::put_back;
use super::settle::{CANCELLED, settle};
use super::turns::Permit;
use super::waiting::{QueueId, Room, Share};
use super::{caught, ended};
use crate::app::App;
use crate::database::Db;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::trace;

/// More in one claim save nothing.
const CLAIM_MAX: usize = 512;
/// How often others may run before this node waits for them by the clock.
const TURNS_GIVEN: u32 = 32;
/// How long places may gather before jobs are claimed for them.
const GATHER: Duration = Duration::from_millis(1);

/// A job in flight: no longer once this is dropped, however it ends.
pub(super) struct Running {
    pub(super) app: Arc<App>,
    lane: Lane,
    pub(super) row: JobRow,
    cancel: Arc<Notify>,
    /// When its run began, if it did.
    began: OnceLock<Instant>,
    has_place: bool,
}

impl Running {
    fn new(app: &Arc<App>, lane: Lane, row: JobRow) -> Self {
        let cancel = app.queue().in_flight().add(lane, &row);
        Self { app: app.clone(), lane, row, cancel, began: OnceLock::new(), has_place: true }
    }

    /// A job that begins when it is committed, if this node works on its kind and has room.
    fn now(app: &Arc<App>, job: &NewJob) -> Option<Self> {
        let may = app.takes_jobs() && job.is_due() && job.unique_key.is_none();
        let kind = app.job_kind(job.kind).filter(|_| may)?;
        let (queue, node) = (app.queue(), app.queue().node().id()?);
        let keyed = job.is_keyed().then_some((kind, &*job.queue));
        let in_flight = queue.in_flight();
        if in_flight.free(job.lane) == 0
            || in_flight.room(job.lane, job.tenant, keyed).0 == 0
            || keyed.is_some_and(|(_, name)| !queue.node().takes(name))
            || queue.is_paused(job.lane, kind.name, &job.queue)
            || queue.waiting(job.lane).comes_before(&QueueId::of(job))
        {
            return None;
        }
        let row = JobRow {
            id: job.id,
            claim: Uuid::now_v7(),
            node,
            kind: job.kind.to_owned(),
            tenant: job.tenant,
            queue: job.queue.clone(),
            payload: job.payload.clone(),
            attempts: 1,
            failures: 0,
        };
        Some(Self::new(app, job.lane, row))
    }

    /// Waits until one more of its key may run; a node may have taken more than that. Without `limits`
    /// those of its kind hold.
    ///
    /// # Errors
    /// `core.job_lost` when this node is no longer the one to say, or the queue was paused meanwhile.
    pub(super) async fn turn(&self, limits: Option<KeyLimits>) -> Result<Option<Permit>> {
        let (mut turn, queue) = (None, self.app.queue());
        if self.row.is_keyed()
            && let Some(kind) = self.app.job_kind(&self.row.kind)
        {
            let rules = || queue.node().rules(&self.row.queue, self.row.node).ok_or_else(lost);
            let limits = limits.unwrap_or(kind.limits);
            turn = Some(queue.turns().take(&self.row.queue, limits, rules()?).await);
            rules()?;
        }
        if queue.is_paused(self.lane, &self.row.kind, &self.row.queue) {
            return Err(lost());
        }
        self.began.get_or_init(Instant::now);
        Ok(turn)
    }

    /// Ends when somebody has cancelled the job.
    pub(super) async fn cancelled<T>(&self) -> Result<T> {
        self.cancel.notified().await;
        Err(Error::conflict(CANCELLED, "cancelled by an operator"))
    }

    /// The run is over; what is left is to write that down.
    pub(super) fn ended(&mut self) {
        if !std::mem::take(&mut self.has_place) {
            return;
        }
        let queue = self.app.queue();
        let time = self.began.get().map(Instant::elapsed).unwrap_or_default();
        queue.in_flight().ended_running(self.lane, &self.row);
        queue.used(self.lane, self.row.tenant, time);
        self.app.wakers().lane(self.lane).notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended();
        self.app.queue().in_flight().remove(self.lane, &self.row);
        // It may be the last one that a node with too much to write down has waited for.
        self.app.wakers().lane(self.lane).notify_one();
    }
}

/// Says that the job is to be given back.
fn lost() -> Error {
    Error::conflict(LOST, "The job is not to begin on this node now.")
}

/// Jobs of a transaction that is about to commit. Those that this node has room for are its own from
/// the first moment, so that nobody need look for them.
pub(crate) struct HandOver {
    written: Instant,
    own: Vec<Running>,
    /// Queues with jobs that somebody has to look for.
    others: Vec<(Lane, QueueId)>,
}

impl HandOver {
    /// Writes the jobs.
    pub(crate) async fn write(app: &Arc<App>, db: &mut Db, jobs: &[NewJob]) -> Result<Self> {
        let mut hand_over = Self { written: Instant::now(), own: Vec::new(), others: Vec::new() };
        let claims: Vec<Option<(Uuid, Uuid)>> =
            jobs.iter().map(|job| hand_over.place(app, job)).collect();
        enqueue::write(db, jobs, &claims).await?;
        Ok(hand_over)
    }

    fn place(&mut self, app: &Arc<App>, job: &NewJob) -> Option<(Uuid, Uuid)> {
        if let Some(running) = Running::now(app, job) {
            let held = (running.row.claim, running.row.node);
            self.own.push(running);
            return Some(held);
        }
        let queue = QueueId::of(job);
        if job.is_due() && self.others.last().is_none_or(|(_, last)| *last != queue) {
            self.others.push((job.lane, queue));
        }
        None
    }

    /// Starts what is this node's and looks for the rest. After the commit; dropped without it, this
    /// leaves nothing behind.
    pub(crate) fn start(self, app: &Arc<App>) {
        let late = self.written.elapsed();
        for (lane, queue) in self.others {
            if (Places { app, lane }).may_take(&queue) {
                app.queue().waiting(lane).note_late(queue, late);
                app.wakers().lane(lane).notify_one();
            }
        }
        set_off(app, self.own);
    }
}

/// Hands jobs to what works on their kind.
fn set_off(app: &App, jobs: Vec<Running>) {
    let mut batches: HashMap<&str, (&Pipeline, Vec<Running>)> = HashMap::new();
    let mut alone = Vec::new();
    for running in jobs {
        match app.job_kind(&running.row.kind) {
            Some(JobKind { name, work: Work::Together(pipeline), .. }) => {
                batches.entry(name).or_insert((pipeline, Vec::new())).1.push(running);
            }
            Some(JobKind { work: Work::Alone(_), .. }) | None => alone.push(running),
        }
    }
    if !alone.is_empty() {
        // Set off in a task of its own, so that the next ones are claimed meanwhile.
        app.run_job(async {
            let mut runs: JoinSet<()> = alone.into_iter().map(run).collect();
            while runs.join_next().await.is_some() {}
        });
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

/// Claims as many as there are places for; says whether it is worth looking again at once.
async fn hand_out(app: &Arc<App>, lane: Lane) -> Result<bool> {
    let queue = app.queue();
    let Some(node) = queue.node().id().filter(|_| app.takes_jobs()) else { return Ok(false) };
    look_for_queues(app, lane);
    gather(app, lane).await;
    let free = queue.in_flight().free(lane).min(CLAIM_MAX);
    let shares = choose(app, lane, free);
    if shares.is_empty() {
        return Ok(false);
    }
    let claims = claim(app, lane, node, &shares).await?;
    note_claims(app, lane, &shares, &claims);
    let jobs = claims.into_iter().map(|claim| Running::new(app, lane, claim.row)).collect();
    set_off(app, jobs);
    Ok(true)
}

/// Where jobs end by the hundred, a few more places are worth waiting for: first until those have run
/// that need no more than their turn, then for a moment.
async fn gather(app: &App, lane: Lane) {
    let is_nearly_full = || app.queue().in_flight().is_nearly_full(lane);
    for _ in 0..TURNS_GIVEN {
        if !is_nearly_full() {
            return;
        }
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(GATHER).await;
}

/// Looks for queues that this node does not know, if that is due: in a task of its own, because while
/// a snapshot is held it may take seconds, and claims must not wait for it.
fn look_for_queues(app: &Arc<App>, lane: Lane) {
    let places = Places { app, lane };
    let begun = app.queue().waiting(lane).begin_sweep(|queue| places.may_take(queue));
    let Some(after) = begun else { return };
    let here = app.clone();
    app.run_job(async move {
        let began = Instant::now();
        let (mut found, more) = match sweep(&here, lane, after.as_ref()).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(?lane, %error, "queues could not be looked for");
                (Vec::new(), false)
            }
        };
        let places = Places { app: &here, lane };
        found.retain(|(queue, _)| places.may_take(queue));
        here.queue().waiting(lane).swept(&found, more, began.elapsed());
        here.wakers().lane(lane).notify_one();
    });
}

/// What this node has room for.
pub(super) struct Places<'a> {
    pub(super) app: &'a App,
    pub(super) lane: Lane,
}

impl Places<'_> {
    /// Whether this node may take jobs of the queue at all: not of one that is paused, whose key is
    /// another node's, or that only a newer release knows.
    pub(super) fn may_take(&self, queue: &QueueId) -> bool {
        let here = self.app.queue();
        self.app.job_kind(queue.kind()).is_some()
            && !here.is_paused(self.lane, queue.kind(), &queue.name)
            && (!queue.is_keyed() || here.node().takes(&queue.name))
    }
}

impl Room for Places<'_> {
    fn of_queue(&self, queue: &QueueId) -> usize {
        let kind = self.app.job_kind(queue.kind()).filter(|_| self.may_take(queue));
        match kind {
            None => 0,
            Some(_) if !queue.is_keyed() => usize::MAX,
            Some(kind) => {
                let in_flight = self.app.queue().in_flight();
                in_flight.room(self.lane, queue.tenant, Some((kind, &queue.name))).0
            }
        }
    }

    fn of_tenant(&self, tenant: TenantId) -> (usize, usize) {
        self.app.queue().in_flight().room(self.lane, tenant, None)
    }
}

fn choose(app: &App, lane: Lane, free: usize) -> Vec<Share> {
    if free == 0 {
        return Vec::new();
    }
    app.queue().waiting(lane).choose(free, &Places { app, lane })
}

fn note_claims(app: &App, lane: Lane, shares: &[Share], claims: &[Claim]) {
    let mut times: HashMap<QueueId, Vec<_>> = HashMap::new();
    for claim in claims {
        times.entry(claim.queue()).or_default().push(claim.waited_since);
    }
    let mut waiting = app.queue().waiting(lane);
    for share in shares {
        waiting.claimed(share, times.get(&share.queue).map_or(&[], Vec::as_slice));
    }
}

async fn run(mut running: Running) {
    let app = running.app.clone();
    let turn = tokio::select! {
        biased;
        cancelled = running.cancelled() => cancelled,
        turn = running.turn(None) => turn,
    };
    let result = match turn {
        Ok(_turn) => attempt(&running).await,
        Err(error) if error.code() == LOST => {
            return Box::pin(put_back(&app, &running.row)).await;
        }
        Err(error) => Some(Err(error)),
    };
    running.ended();
    match result {
        None => {}
        Some(Ok(())) => app.queue().done().push(running),
        Some(failed) => {
            // In a box: what rarely happens must not make every run's future as large as it.
            if let Err(error) = Box::pin(settle(&app, &running.row, failed)).await {
                // It is found to be in nobody's hands and taken back.
                tracing::warn!(job = %running.row.id, %error, "a job could not be settled");
            }
        }
    }
}

/// Runs a job to its end. `None`: nothing is left to settle.
async fn attempt(running: &Running) -> Option<Result<()>> {
    let Running { app, row, .. } = running;
    let Some(kind) = app.job_kind(&row.kind) else {
        return Some(Err(Error::internal(format!("no module works on jobs of kind {}", row.kind))));
    };
    let Work::Alone(run) = &kind.work else {
        return Some(Err(Error::internal(format!("{} is done in batches", row.kind))));
    };
    let mut span = trace::of_job(app, kind.name, row.id).await;
    let cx = JobCx::new(app, kind, row, span.cause());
    let work = span.around(caught(run(cx.clone(), &row.payload)));
    let result = tokio::select! {
        biased;
        cancelled = running.cancelled() => cancelled,
        result = tokio::time::timeout(kind.timeout, work) => {
            result.unwrap_or_else(|_| Err(kind.took_too_long()))
        }
    };
    if result.is_err() {
        span.failed();
    }
    match result {
        Ok(()) if cx.is_settled() => {
            ended(app, &row.kind, cx.end());
            None
        }
        Err(error) if cx.is_settled() || error.code() == LOST => {
            tracing::info!(job = %row.id, kind = row.kind, %error, "a job failed that was settled");
            None
        }
        result => Some(result),
    }
}
