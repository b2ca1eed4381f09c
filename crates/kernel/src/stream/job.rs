//! Jobs: work that is asked for in a transaction and done after it commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::batch::{AHEAD, Claimed, Pipeline, RunBatch};
use crate::app::App;
use crate::cx::Origin;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::metrics::JobEnd;
use crate::time::Timestamp;
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

    /// Jobs in flight per node.
    pub(crate) const fn slots(self) -> usize {
        match self {
            Self::Transactional => 128,
            Self::Standard => 512,
            Self::Bulk => 64,
        }
    }

    /// Of these, how many one tenant may have, so that no tenant stops the others.
    pub(crate) const fn slots_per_tenant(self) -> usize {
        self.slots() / 4
    }
}

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
    /// How many jobs of this kind with the same key run at once on a node.
    const PER_KEY: usize = 10;

    /// Jobs of this kind with the same key share a limit on how many run at once.
    fn key(&self) -> Option<String> {
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
    settled: Arc<AtomicBool>,
    repeats: Arc<AtomicBool>,
}

impl JobCx {
    pub(crate) fn new(app: &Arc<App>, row: &JobRow, trace: Option<Cause>) -> Self {
        Self {
            origin: app.origin_in(trace),
            job: row.id,
            claim: row.claim,
            tenant: row.tenant,
            attempt: row.attempts,
            settled: Arc::default(),
            repeats: Arc::default(),
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
        sqlx::query!("select core.finish_job($1, $2)", self.job, self.claim)
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

/// A job to be written with the transaction that asks for it.
pub(crate) struct NewJob {
    pub(crate) id: Uuid,
    pub(crate) lane: Lane,
    pub(crate) kind: &'static str,
    pub(crate) tenant: TenantId,
    pub(crate) key: Option<String>,
    pub(crate) payload: Value,
    pub(crate) wait: Duration,
    pub(crate) virtual_at: Option<Timestamp>,
}

impl NewJob {
    /// Whether it may run as soon as it is committed.
    pub(super) fn is_due(&self) -> bool {
        self.wait.is_zero() && self.virtual_at.is_none()
    }

    pub(crate) fn of<J: Job>(
        tenant: TenantId,
        job: &J,
        wait: Duration,
        virtual_at: Option<Timestamp>,
    ) -> Result<Self> {
        Ok(Self {
            id: Uuid::now_v7(),
            lane: J::LANE,
            kind: J::KIND,
            tenant,
            key: job.key(),
            payload: serde_json::to_value(job)?,
            wait,
            virtual_at,
        })
    }
}

/// Writes jobs, in one statement; those that this node takes at once under its claim.
pub(super) async fn write(
    db: &mut crate::Db,
    jobs: &[NewJob],
    claims: &[Option<Uuid>],
    lease: Duration,
) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    let lanes: Vec<i16> = jobs.iter().map(|job| job.lane.number()).collect();
    let kinds: Vec<&str> = jobs.iter().map(|job| job.kind).collect();
    let tenants: Vec<Uuid> = jobs.iter().map(|job| *job.tenant).collect();
    let keys: Vec<Option<&str>> = jobs.iter().map(|job| job.key.as_deref()).collect();
    let payloads: Vec<Value> = jobs.iter().map(|job| job.payload.clone()).collect();
    let waits: Vec<_> = jobs.iter().map(|job| interval(job.wait)).collect();
    let virtuals: Vec<Option<Timestamp>> = jobs.iter().map(|job| job.virtual_at).collect();
    sqlx::query!(
        "insert into core.jobs (id, lane, kind, tenant_id, key, payload, run_at, virtual_at, claim,
           lease_until, attempts)
         select id, lane, kind, tenant_id, key, payload,
           case when virtual_at is null then clock_timestamp() + wait else 'infinity' end, virtual_at,
           claim, case when claim is not null then clock_timestamp() + $10 end,
           (claim is not null)::int
         from unnest($1::uuid[], $2::smallint[], $3::text[], $4::uuid[], $5::text[], $6::jsonb[],
             $7::interval[], $8::timestamptz[], $9::uuid[])
           as j (id, lane, kind, tenant_id, key, payload, wait, virtual_at, claim)",
        &ids,
        &lanes,
        &kinds as _,
        &tenants,
        &keys as _,
        &payloads,
        &waits,
        virtuals as _,
        claims as _,
        interval(lease),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A job that was handed out.
pub(crate) struct JobRow {
    pub(crate) id: Uuid,
    pub(crate) claim: Uuid,
    pub(crate) kind: String,
    pub(crate) tenant: TenantId,
    pub(crate) key: Option<String>,
    pub(crate) payload: Value,
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
}

/// A kind of job without its type.
pub(crate) struct JobKind {
    pub(crate) name: &'static str,
    pub(crate) lane: Lane,
    pub(crate) timeout: Duration,
    /// How many of the same key run at once.
    pub(crate) at_once: usize,
    /// How many of the same key this node takes.
    pub(crate) per_key: usize,
    pub(crate) retry_after: fn(u32) -> Option<Duration>,
    pub(crate) given_up: GivenUpFn,
    pub(crate) work: Work,
}

/// [`Job::given_up`] without its type.
pub(crate) type GivenUpFn =
    for<'a> fn(&'a mut SystemTx, TenantId, Value, &'a str) -> BoxFuture<'a, Result<()>>;

/// How a kind is done.
pub(crate) enum Work {
    /// One by one.
    Alone(RunFn),
    /// Through the kind's own [pipeline](super::batch).
    Together(Pipeline),
}

/// [`RunJob::run`] without its type.
pub(crate) type RunFn = Box<dyn Fn(JobCx, Value) -> BoxFuture<'static, Result<()>> + Send + Sync>;

impl JobKind {
    pub(crate) fn alone<J: RunJob>() -> Self {
        let run: RunFn = Box::new(|cx, payload| {
            Box::pin(async move { serde_json::from_value::<J>(payload)?.run(cx).await })
        });
        Self::of::<J>(J::PER_KEY, Work::Alone(run))
    }

    pub(crate) fn together<J: RunBatch>() -> Self {
        Self::of::<J>(J::PER_KEY + AHEAD, Work::Together(Pipeline::of::<J>()))
    }

    fn of<J: Job>(per_key: usize, work: Work) -> Self {
        Self {
            name: J::KIND,
            lane: J::LANE,
            timeout: J::TIMEOUT,
            at_once: J::PER_KEY,
            per_key,
            retry_after: J::retry_after,
            given_up: |tx, tenant, payload, why| {
                Box::pin(async move {
                    let job = serde_json::from_value::<J>(payload)?;
                    J::given_up(tx, &Claimed { tenant, job }, why).await
                })
            },
            work,
        }
    }
}
