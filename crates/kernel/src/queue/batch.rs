//! Jobs that wait for the network and come in thousands: many are planned in one transaction, run
//! side by side without any, and are written down in one again.

use std::slice::from_ref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::job::{Job, KeyLimits, LOST};
use super::reclaim::put_back;
use super::settle::{patiently, settle, settle_many};
use super::worker::Running;
use super::{caught, ended};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::event::EventId;
use crate::metrics::JobEnd;
use crate::trace;
use crate::tx::SystemTx;

/// How many jobs of a full key a node holds beyond those that run, so that the next one need not
/// wait for the database.
pub(super) const AHEAD: usize = 32;
/// How many runs are written down in one transaction.
const RECORDED_AT_ONCE: usize = 256;
/// A plan that has waited longer for its turn is made again: the world may have changed.
const FRESH: Duration = Duration::from_secs(1);

/// A job that is done in three steps, the first and the last one for many tenants' jobs at once.
///
/// Delivery is at least once: a node that dies between `run` and `record` has done something that
/// nobody knows of, and another one does it again.
pub trait RunBatch: Job {
    /// What one run needs to know.
    type Plan: Send + 'static;
    /// What came of one run.
    type Outcome: Send + Sync + 'static;

    /// Reads what the runs need: one plan for each job, in their order. Nothing is kept of this
    /// transaction.
    fn plan(
        tx: &mut SystemTx,
        jobs: &[Claimed<Self>],
    ) -> impl Future<Output = Result<Vec<Self::Plan>>> + Send;

    /// What holds for the key of this run's job, if that is not what its kind says. What the newest
    /// plan of a key says holds for all of it.
    fn limits(_plan: &Self::Plan) -> Option<KeyLimits> {
        None
    }

    /// The event that a run follows from, if it is one: the run becomes a part of its trace.
    fn cause(_plan: &Self::Plan) -> Option<EventId> {
        None
    }

    /// Does the work, outside any transaction. What the outside world does wrong is an outcome; an
    /// error is a failure of ours, tried again after [`Job::retry_after`].
    fn run(plan: Self::Plan, app: Arc<App>) -> impl Future<Output = Result<Self::Outcome>> + Send;

    /// Writes down what came of runs and says what becomes of their jobs, in their order; both are
    /// kept or neither. Jobs that somebody else has taken over are not among them.
    fn record(
        tx: &mut SystemTx,
        done: &[(Claimed<Self>, Self::Outcome)],
    ) -> impl Future<Output = Result<Vec<Settlement>>> + Send;
}

/// A job in this node's hands.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<J: ?Sized> {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its arguments.
    pub job: J,
}

/// What becomes of a job.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It is over.
    Done,
    /// It runs again after a while of business time.
    Again {
        /// How long.
        after: Duration,
        /// Why, in words.
        why: String,
    },
}

/// The way of one kind's jobs through this node.
pub(crate) struct Pipeline {
    claimed: UnboundedSender<Vec<Running>>,
    serve: Mutex<Option<Serve>>,
}

type Serve = Box<dyn FnOnce(Arc<App>) -> BoxFuture<'static, ()> + Send>;

impl Pipeline {
    pub(super) fn of<J: RunBatch>() -> Self {
        // Lanes bound how much is claimed, so the channel need not.
        let (claimed, jobs) = unbounded_channel();
        let serve: Serve = Box::new(|app| Box::pin(serve::<J>(app, jobs)));
        Self { claimed, serve: Mutex::new(Some(serve)) }
    }

    /// What works it off until it is dropped; there once.
    pub(super) fn take(&self) -> Option<Serve> {
        self.serve.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn push(&self, claimed: Vec<Running>) {
        // Fails only while the node stops; what is dropped here is handed back.
        let _ = self.claimed.send(claimed);
    }
}

/// One job between its steps.
struct Step<J: RunBatch> {
    running: Running,
    claimed: Claimed<J>,
}

/// A run that has ended.
struct Ended<J: RunBatch> {
    step: Step<J>,
    outcome: J::Outcome,
}

async fn serve<J: RunBatch>(app: Arc<App>, mut claimed: UnboundedReceiver<Vec<Running>>) {
    let (ended, to_record) = unbounded_channel();
    // All of them end when this is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(record_all::<J>(app.clone(), to_record));
    while let Some(jobs) = claimed.recv().await {
        while tasks.try_join_next().is_some() {}
        let (steps, refused) = decode::<J>(jobs);
        for (running, error) in refused {
            tasks.spawn(give_up(running, error));
        }
        let (app, ended) = (app.clone(), ended.clone());
        tasks.spawn(async move {
            let mut runs = JoinSet::new();
            for (step, plan) in plan_all(&app, steps).await {
                runs.spawn(run(app.clone(), ended.clone(), step, plan));
            }
            runs.join_all().await;
        });
    }
}

type Refused = Vec<(Running, Error)>;

/// Arguments as the type that was enqueued; an older release may have written them otherwise.
fn decode<J: RunBatch>(jobs: Vec<Running>) -> (Vec<Step<J>>, Refused) {
    let (mut steps, mut refused) = (Vec::with_capacity(jobs.len()), Vec::new());
    for running in jobs {
        match serde_json::from_str(&running.row.payload) {
            Ok(job) => {
                let claimed = Claimed { tenant: running.row.tenant, job };
                steps.push(Step { running, claimed });
            }
            Err(error) => refused.push((running, error.into())),
        }
    }
    (steps, refused)
}

/// Plans a batch; when that fails, each job by itself, so that one harms no other.
async fn plan_all<J: RunBatch>(app: &Arc<App>, steps: Vec<Step<J>>) -> Vec<(Step<J>, J::Plan)> {
    let (mut running, mut claimed) = (Vec::new(), Vec::new());
    for step in steps {
        running.push(step.running);
        claimed.push(step.claimed);
    }
    let together = plan::<J>(app, &claimed).await;
    let steps = running.into_iter().zip(claimed);
    let steps = steps.map(|(running, claimed)| Step { running, claimed });
    if let Ok(plans) = together {
        return steps.zip(plans).collect();
    }
    let mut planned = Vec::new();
    for step in steps {
        match plan_one(app, &step.claimed).await {
            Ok(plan) => planned.push((step, plan)),
            Err(error) => give_up(step.running, error).await,
        }
    }
    planned
}

async fn plan_one<J: RunBatch>(app: &Arc<App>, claimed: &Claimed<J>) -> Result<J::Plan> {
    let mut plans = plan::<J>(app, from_ref(claimed)).await?;
    plans.pop().ok_or_else(|| Error::internal("a job without a plan"))
}

async fn plan<J: RunBatch>(app: &Arc<App>, claimed: &[Claimed<J>]) -> Result<Vec<J::Plan>> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let plans = caught(J::plan(&mut tx, claimed)).await?;
    if plans.len() == claimed.len() {
        return Ok(plans);
    }
    Err(Error::internal(format!("{} plans for {} jobs", plans.len(), claimed.len())))
}

/// Waits for its turn at its key, runs, and passes on what came of it.
async fn run<J: RunBatch>(
    app: Arc<App>,
    ended: UnboundedSender<Ended<J>>,
    mut step: Step<J>,
    plan: J::Plan,
) {
    let planned = Instant::now();
    let turn = tokio::select! {
        biased;
        cancelled = step.running.cancelled() => cancelled,
        turn = step.running.turn(J::limits(&plan)) => turn,
    };
    let result = match turn {
        Ok(_turn) => {
            let plan = match planned.elapsed() > FRESH {
                true => plan_one(&app, &step.claimed).await,
                false => Ok(plan),
            };
            match plan {
                Ok(plan) => tokio::select! {
                    biased;
                    cancelled = step.running.cancelled() => cancelled,
                    result = traced::<J>(&app, &step.running, plan) => result,
                },
                Err(error) => Err(error),
            }
        }
        Err(error) if error.code() == LOST => return put_back(&app, &step.running.row).await,
        Err(error) => Err(error),
    };
    step.running.ended();
    match result {
        // Fails only while the node stops; the job is handed back then.
        Ok(outcome) => drop(ended.send(Ended { step, outcome })),
        Err(error) => give_up(step.running, error).await,
    }
}

async fn traced<J: RunBatch>(
    app: &Arc<App>,
    running: &Running,
    plan: J::Plan,
) -> Result<J::Outcome> {
    let cause = J::cause(&plan).map_or(running.row.id, |event| *event);
    let mut span = trace::of_job(app, J::KIND, cause).await;
    let result = span.around(bounded::<J>(app, plan)).await;
    if result.is_err() {
        span.failed();
    }
    result
}

async fn bounded<J: RunBatch>(app: &Arc<App>, plan: J::Plan) -> Result<J::Outcome> {
    let run = caught(J::run(plan, app.clone()));
    tokio::time::timeout(J::TIMEOUT, run).await.unwrap_or_else(|_| {
        Err(Error::internal(format!("took longer than {} s", J::TIMEOUT.as_secs_f32())))
    })
}

/// A failure of ours: tried again later, or buried.
async fn give_up(running: Running, error: Error) {
    if let Err(error) = settle(&running.app, &running.row, Err(error)).await {
        // It is found to be in nobody's hands and taken back.
        tracing::warn!(job = %running.row.id, %error, "a job could not be settled");
    }
}

/// Writes down whatever has ended meanwhile: the busier the node, the more at once.
async fn record_all<J: RunBatch>(app: Arc<App>, mut ended: UnboundedReceiver<Ended<J>>) {
    let mut batch = Vec::with_capacity(RECORDED_AT_ONCE);
    while ended.recv_many(&mut batch, RECORDED_AT_ONCE).await > 0 {
        let (mut running, mut done) = (Vec::new(), Vec::new());
        for Ended { step, outcome } in batch.drain(..) {
            running.push(step.running);
            done.push((step.claimed, outcome));
        }
        // What was done cannot be done again without somebody noticing, so this waits.
        if patiently(|| record::<J>(&app, &running, &done)).await.is_err() {
            apart::<J>(&app, running, &done).await;
        }
    }
}

/// One by one, so that a run that cannot be written down harms no other.
async fn apart<J: RunBatch>(
    app: &Arc<App>,
    running: Vec<Running>,
    done: &[(Claimed<J>, J::Outcome)],
) {
    for (running, done) in running.into_iter().zip(done) {
        match record::<J>(app, from_ref(&running), from_ref(done)).await {
            Ok(()) => {}
            Err(error) if error.code() == LOST => {
                tracing::info!(job = %running.row.id, "somebody else has taken the job over");
            }
            Err(error) => give_up(running, error).await,
        }
    }
}

async fn record<J: RunBatch>(
    app: &Arc<App>,
    running: &[Running],
    done: &[(Claimed<J>, J::Outcome)],
) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let settlements = caught(J::record(&mut tx, done)).await?;
    let ends: Vec<JobEnd> = settlements.iter().map(JobEnd::of).collect();
    settle_many(app, &mut tx, running, settlements).await?;
    tx.commit().await?;
    ends.into_iter().for_each(|end| ended(app, J::KIND, end));
    Ok(())
}
