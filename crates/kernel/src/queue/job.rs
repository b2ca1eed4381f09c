//! Jobs: work that is asked for in a transaction and done after it commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::batch::{AHEAD, Claimed, Pipeline, RunBatch};
use super::progress::Progress;
use super::turns::RATE_WITHIN_MAX;
use crate::app::App;
use crate::cx::Origin;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::id::{Id, Named};
use crate::metrics::JobEnd;
use crate::trace::Cause;
use crate::tx::{Opening, Slot, SystemTx, Tx};

/// Three queues with workers of their own, so that bulk work never delays what a person waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody is waiting for it: a sign-in mail.
    Transactional,
    /// The ordinary: a webhook.
    Standard,
    /// Much of it, whenever: a campaign, an export.
    Bulk,
}

impl Lane {
    pub(crate) const ALL: [Self; 3] = [Self::Transactional, Self::Standard, Self::Bulk];

    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Transactional => 0,
            Self::Standard => 1,
            Self::Bulk => 2,
        }
    }

    /// Its place in what is kept for each lane.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// As people and metrics call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Standard => "standard",
            Self::Bulk => "bulk",
        }
    }
}

/// What goes first among the jobs of one tenant in one lane. A lower one that has waited for half a
/// minute goes with the next higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Before the others.
    High,
    /// As they come.
    #[default]
    Normal,
    /// When there is nothing else.
    Low,
}

impl Priority {
    pub(crate) const fn number(self) -> i16 {
        self as i16
    }
}

/// How many jobs of one key may start within any stretch of time this long, over all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many.
    pub starts: usize,
    /// Within this. A minute at most: a node that takes a key over waits for so long first.
    pub within: Duration,
}

/// How many jobs of one key run at once, and how fast they start, over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// At most so many. Those of [`RunBatch`] are at most [`Job::PER_KEY`] and 32 more.
    pub at_once: usize,
    /// At most so fast; as fast as they come if it is `None`.
    pub rate: Option<Rate>,
}

/// A job, as operators name it.
#[derive(Debug)]
pub struct JobName;

impl Named for JobName {
    const PREFIX: &'static str = "job";
}

/// The id of a job.
pub type JobId = Id<JobName>;

/// A kind of job. The value is its arguments, kept as JSON; keep it small and name things by id.
///
/// How it is done is one of two: [`RunJob`] in transactions of its own, or [`RunBatch`] for what
/// waits for the network and comes in thousands.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `<module>.<verb>`, unique.
    const KIND: &'static str;
    /// The queue it waits in.
    const LANE: Lane;
    /// How long one run may take.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// How many jobs of this kind with the same key run at once, over all nodes.
    const PER_KEY: usize = 10;
    /// How fast jobs of this kind with the same key may start, if that is limited.
    const RATE: Option<Rate> = None;
    /// Whether jobs that are done are kept for a while, to be looked at. Not worth it for what comes
    /// in thousands and has a log of its own.
    const KEPT: bool = true;

    /// Jobs of this kind with the same key share the limits on how many run at once and how fast
    /// they start. At most 200 bytes.
    fn key(&self) -> Option<String> {
        None
    }

    /// What goes first among the jobs of a tenant.
    fn priority(&self) -> Priority {
        Priority::Normal
    }

    /// While a job of this kind and tenant with the same unique key waits to begin, asking for
    /// another one changes nothing. Once it has begun, the next one is a new one; should it fail, and
    /// another one wait by then, it makes way. (Several that fail at the same moment may all stay.)
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// How long to wait after this many failed runs, [repeated](JobCx::repeat) ones forgotten;
    /// `None` gives the job up.
    fn retry_after(failures: u32) -> Option<Duration>;

    /// Called in the transaction that gives a job up for good, so that whoever waits for it can be
    /// told. `why` is for operators.
    fn given_up(
        _tx: &mut SystemTx,
        _job: &Claimed<Self>,
        _why: &str,
    ) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A job that is done by itself.
pub trait RunJob: Job {
    /// Does the work. Delivery is at least once: settle with [`JobCx::finish`] or
    /// [`JobCx::repeat`] in the transaction that records the effect, so that both happen or neither.
    /// A run that returns without settling is settled afterwards: finished on success, repeated or
    /// given up on an error.
    fn run(self, cx: JobCx) -> impl Future<Output = Result<()>> + Send;
}

/// The code of the error that says that somebody else has taken a job over.
pub(super) const LOST: &str = "core.job_lost";

/// What a running job has.
#[derive(Clone)]
pub struct JobCx {
    origin: Arc<Origin>,
    job: Uuid,
    claim: Uuid,
    tenant: TenantId,
    attempt: u32,
    kept: bool,
    settled: Arc<AtomicBool>,
    repeats: Arc<AtomicBool>,
    progress: Progress,
}

impl JobCx {
    pub(super) fn new(app: &Arc<App>, kind: &JobKind, row: &JobRow, trace: Option<Cause>) -> Self {
        Self {
            origin: app.origin_in(trace),
            job: row.id,
            claim: row.claim,
            tenant: row.tenant,
            attempt: row.attempts,
            kept: kind.kept,
            settled: Arc::default(),
            repeats: Arc::default(),
            progress: Progress::default(),
        }
    }

    /// The running application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.origin.app
    }

    /// What a module keeps for its handlers, see [`Module::state`](crate::Module::state).
    ///
    /// # Errors
    /// When no module keeps such a state.
    pub fn state<T: Clone + 'static>(&self) -> Result<T> {
        self.app().state().ok_or_else(|| {
            Error::internal(format!(
                "no module keeps a state of type {}",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Which run this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The tenant the job belongs to.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// A transaction in the job's tenant. Commit it.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn tx(&self) -> Result<Tx> {
        Tx::begin(self.origin.clone(), self.tenant, Opening::ReadWrite, Slot::default()).await
    }

    /// The same, for reading.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn read_tx(&self) -> Result<Tx> {
        Tx::begin(self.origin.clone(), self.tenant, Opening::ReadOnly, Slot::default()).await
    }

    /// The job is done, if this transaction commits.
    ///
    /// # Errors
    /// 409 `core.job_lost` when somebody else has taken the job over meanwhile: then nothing of
    /// this can be kept.
    pub async fn finish(&self, tx: &mut Tx) -> Result<()> {
        sqlx::query!("select core.finish_job($1, $2, $3)", self.job, self.claim, self.kept)
            .execute(tx.db())
            .await?;
        tx.work_mut().settles(self.settled.clone());
        Ok(())
    }

    /// The job is to run again after a while of business time, if this transaction commits.
    ///
    /// # Errors
    /// As [`JobCx::finish`].
    pub async fn repeat(&self, tx: &mut Tx, after: Duration, why: &str) -> Result<()> {
        let virtual_at = tx.virtual_time(after);
        sqlx::query!(
            "select core.repeat_job($1, $2, $3, $4, $5)",
            self.job,
            self.claim,
            interval(after),
            virtual_at as _,
            why,
        )
        .execute(tx.db())
        .await?;
        self.repeats.store(true, Ordering::Release);
        tx.work_mut().settles(self.settled.clone());
        Ok(())
    }

    /// Says how far the work has come, for whoever watches: so much of so much. Kept at most once a
    /// second, so call it as often as you like.
    ///
    /// # Errors
    /// 503 when the database is away; the work need not stop for that.
    pub async fn progress(&self, done: u64, of: u64) -> Result<()> {
        self.progress.note(self.app(), (self.job, self.claim), done, of).await
    }

    /// How a run ended that was settled.
    pub(super) fn end(&self) -> JobEnd {
        if self.repeats.load(Ordering::Acquire) { JobEnd::Again } else { JobEnd::Done }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}

/// PostgreSQL's interval, to the microsecond.
pub(crate) fn interval(duration: Duration) -> sqlx::postgres::types::PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    sqlx::postgres::types::PgInterval { months: 0, days: 0, microseconds }
}

/// A job that was handed out.
pub(crate) struct JobRow {
    pub(crate) id: Uuid,
    pub(crate) claim: Uuid,
    /// The node as which this one took it.
    pub(crate) node: Uuid,
    pub(crate) kind: String,
    pub(crate) tenant: TenantId,
    /// The kind, or the kind and the key.
    pub(crate) queue: Arc<str>,
    /// As JSON.
    pub(crate) payload: String,
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
}

impl JobRow {
    /// Whether it has a key, and with it limits.
    pub(super) fn is_keyed(&self) -> bool {
        self.queue.len() > self.kind.len()
    }
}

/// A kind of job without its type.
pub(crate) struct JobKind {
    pub(crate) name: &'static str,
    pub(crate) lane: Lane,
    pub(crate) timeout: Duration,
    /// What holds for jobs of the same key, if nothing else is said of a key.
    pub(crate) limits: KeyLimits,
    /// How many of the same key the node takes that hands them out.
    pub(crate) per_key: usize,
    pub(crate) kept: bool,
    pub(crate) retry_after: fn(u32) -> Option<Duration>,
    pub(crate) given_up: GivenUpFn,
    pub(crate) work: Work,
}

/// [`Job::given_up`] without its type.
pub(crate) type GivenUpFn =
    for<'a> fn(&'a mut SystemTx, TenantId, &'a str, &'a str) -> BoxFuture<'a, Result<()>>;

/// How a kind is done.
pub(crate) enum Work {
    /// One by one.
    Alone(RunFn),
    /// Through the kind's own [pipeline](super::batch).
    Together(Pipeline),
}

/// [`RunJob::run`] without its type.
pub(crate) type RunFn = Box<dyn Fn(JobCx, &str) -> BoxFuture<'static, Result<()>> + Send + Sync>;

impl JobKind {
    pub(super) fn took_too_long(&self) -> Error {
        Error::internal(format!("took longer than {} s", self.timeout.as_secs_f32()))
    }

    pub(crate) fn alone<J: RunJob>() -> Self {
        let run: RunFn = Box::new(|cx, payload| {
            let job = serde_json::from_str::<J>(payload);
            Box::pin(async move { job?.run(cx).await })
        });
        Self::of::<J>(J::PER_KEY, Work::Alone(run))
    }

    pub(crate) fn together<J: RunBatch>() -> Self {
        Self::of::<J>(J::PER_KEY + AHEAD, Work::Together(Pipeline::of::<J>()))
    }

    fn of<J: Job>(per_key: usize, work: Work) -> Self {
        const {
            if let Some(rate) = J::RATE {
                let within = rate.within.as_nanos();
                assert!(rate.starts > 0 && within <= RATE_WITHIN_MAX.as_nanos());
            }
        }
        Self {
            name: J::KIND,
            lane: J::LANE,
            timeout: J::TIMEOUT,
            limits: KeyLimits { at_once: J::PER_KEY, rate: J::RATE },
            per_key,
            kept: J::KEPT,
            retry_after: J::retry_after,
            given_up: |tx, tenant, payload, why| {
                Box::pin(async move {
                    let job = serde_json::from_str::<J>(payload)?;
                    J::given_up(tx, &Claimed { tenant, job }, why).await
                })
            },
            work,
        }
    }
}
