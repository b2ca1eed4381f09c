//! Kinds of jobs that show what the queue promises: how fast, how many, once, in which order. What they
//! did is kept in this process, by tenant.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use freehold_kernel::{
    App, Claimed, Error, Job, JobCx, Lane, Module, Priority, Rate, Result, RunBatch, RunJob,
    Settlement, SystemTx, TenantId,
};
use serde::{Deserialize, Serialize};

use crate::queue_orders;
use crate::stream::{self, Watch};

pub(crate) fn module() -> Module {
    stream::module()
        .job::<Chore>()
        .job::<Forgotten>()
        .job::<Metered>()
        .job::<Narrow>()
        .job::<Once>()
        .job::<OnceToo>()
        .batch_job::<Parcel>()
        .routes(queue_orders::routes())
}

/// A job that began.
#[derive(Clone)]
pub(crate) struct Begun {
    pub(crate) name: String,
    pub(crate) at: Instant,
    /// Tells nodes apart.
    pub(crate) node: usize,
}

/// What jobs of a tenant did.
#[derive(Default)]
pub(crate) struct Log {
    begun: Mutex<Vec<Begun>>,
    /// Whose kind was told that they were given up.
    told: Mutex<Vec<String>>,
    /// Of each key, how many run, and the most that did.
    running: Mutex<HashMap<String, (usize, usize)>>,
    /// Worker time.
    time: Mutex<Duration>,
}

impl Log {
    pub(crate) fn of(tenant: impl Into<TenantId>) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<TenantId, Arc<Log>>>> = LazyLock::new(Mutex::default);
        ALL.lock().unwrap().entry(tenant.into()).or_default().clone()
    }

    pub(crate) fn begun(&self) -> Vec<Begun> {
        self.begun.lock().unwrap().clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.begun().into_iter().map(|begun| begun.name).collect()
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn time(&self) -> Duration {
        *self.time.lock().unwrap()
    }

    /// The most that ever ran at once of any key.
    pub(crate) fn most_of_a_key(&self) -> usize {
        self.running.lock().unwrap().values().map(|(_, most)| *most).max().unwrap_or_default()
    }

    fn begin(self: &Arc<Self>, name: &str, key: &str, app: &Arc<App>) -> Run {
        let (at, node) = (Instant::now(), Arc::as_ptr(app) as usize);
        self.begun.lock().unwrap().push(Begun { name: name.to_owned(), at, node });
        let mut running = self.running.lock().unwrap();
        let (now, most) = running.entry(key.to_owned()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        Run { log: self.clone(), key: key.to_owned(), at }
    }

    fn tell(&self, name: &str) {
        self.told.lock().unwrap().push(name.to_owned());
    }
}

/// A run, while it lives.
struct Run {
    log: Arc<Log>,
    key: String,
    at: Instant,
}

impl Drop for Run {
    fn drop(&mut self) {
        *self.log.time.lock().unwrap() += self.at.elapsed();
        if let Some((now, _)) = self.log.running.lock().unwrap().get_mut(&self.key) {
            *now -= 1;
        }
    }
}

/// Takes as long as it says, at the priority it says.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Chore {
    pub(crate) name: String,
    pub(crate) ms: u64,
    /// As the number of a priority: 1 is normal.
    pub(crate) rank: u8,
    pub(crate) mode: String,
}

impl Chore {
    pub(crate) fn new(name: &str, ms: u64) -> Self {
        Self { name: name.to_owned(), ms, rank: 1, mode: String::new() }
    }

    pub(crate) fn that(mode: &str, name: &str) -> Self {
        Self { mode: mode.to_owned(), ..Self::new(name, 0) }
    }
}

impl Job for Chore {
    const KIND: &'static str = "fixture.chore";
    const LANE: Lane = Lane::Standard;

    fn priority(&self) -> Priority {
        match self.rank {
            0 => Priority::High,
            1 => Priority::Normal,
            _ => Priority::Low,
        }
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }

    async fn given_up(_: &mut SystemTx, job: &Claimed<Self>, _: &str) -> Result<()> {
        Log::of(job.tenant).tell(&job.job.name);
        Ok(())
    }
}

impl RunJob for Chore {
    async fn run(self, cx: JobCx) -> Result<()> {
        let _run = Log::of(cx.tenant()).begin(&self.name, "", cx.app());
        match self.mode.as_str() {
            "gate" => Watch::of(cx.tenant()).gate.pass().await,
            "fail" => return Err(Error::internal("as it was told")),
            "fail once" if cx.attempt() == 1 => return Err(Error::internal("as it was told")),
            "tell" => {
                cx.progress(1, 10).await?;
                Watch::of(cx.tenant()).gate.pass().await;
                cx.progress(10, 10).await?;
                Watch::of(cx.tenant()).gate.pass().await;
            }
            _ => tokio::time::sleep(Duration::from_millis(self.ms)).await,
        }
        Ok(())
    }
}

/// Is not kept once it is done.
#[derive(Serialize, Deserialize)]
pub(crate) struct Forgotten;

impl Job for Forgotten {
    const KIND: &'static str = "fixture.forgotten";
    const LANE: Lane = Lane::Standard;
    const KEPT: bool = false;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Forgotten {
    async fn run(self, cx: JobCx) -> Result<()> {
        drop(Log::of(cx.tenant()).begin("forgotten", "", cx.app()));
        Ok(())
    }
}

/// So many of a key start within so long.
pub(crate) const RATE: Rate = Rate { starts: 10, within: Duration::from_millis(250) };

/// Starts no faster than its rate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Metered {
    pub(crate) key: String,
    pub(crate) name: String,
}

impl Job for Metered {
    const KIND: &'static str = "fixture.metered";
    const LANE: Lane = Lane::Standard;
    const RATE: Option<Rate> = Some(RATE);

    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Metered {
    async fn run(self, cx: JobCx) -> Result<()> {
        drop(Log::of(cx.tenant()).begin(&self.name, &self.key, cx.app()));
        Ok(())
    }
}

/// Two at once of each key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Narrow {
    pub(crate) key: String,
    pub(crate) ms: u64,
    /// Whether it waits at the gate instead.
    pub(crate) waits: bool,
}

impl Job for Narrow {
    const KIND: &'static str = "fixture.narrow";
    const LANE: Lane = Lane::Standard;
    const PER_KEY: usize = 2;

    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Narrow {
    async fn run(self, cx: JobCx) -> Result<()> {
        let _run = Log::of(cx.tenant()).begin(&self.key, &self.key, cx.app());
        if self.waits {
            Watch::of(cx.tenant()).gate.pass().await;
        }
        tokio::time::sleep(Duration::from_millis(self.ms)).await;
        Ok(())
    }
}

/// One waits at a time.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Once {
    pub(crate) unique: String,
    pub(crate) mode: String,
}

impl Once {
    pub(crate) fn new(unique: &str, mode: &str) -> Self {
        Self { unique: unique.to_owned(), mode: mode.to_owned() }
    }
}

impl Job for Once {
    const KIND: &'static str = "fixture.once";
    const LANE: Lane = Lane::Standard;

    fn unique_key(&self) -> Option<String> {
        Some(self.unique.clone())
    }

    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 3).then(|| Duration::from_secs(3600))
    }

    async fn given_up(_: &mut SystemTx, job: &Claimed<Self>, _: &str) -> Result<()> {
        if job.job.mode == "mourned" {
            Watch::of(job.tenant).gate.pass().await;
        }
        Ok(())
    }
}

impl RunJob for Once {
    async fn run(self, cx: JobCx) -> Result<()> {
        let _run = Log::of(cx.tenant()).begin(&self.unique, &self.unique, cx.app());
        let gate = &Watch::of(cx.tenant()).gate;
        match self.mode.as_str() {
            "fail" => return Err(Error::internal("as it was told")),
            "gate" => gate.pass().await,
            "gate, fail" => {
                gate.pass().await;
                return Err(Error::internal("as it was told"));
            }
            "again" => {
                let mut tx = cx.tx().await?;
                cx.repeat(&mut tx, Duration::from_secs(3600), "as it was told").await?;
                gate.pass().await;
                return tx.commit().await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The same as another kind.
#[derive(Serialize, Deserialize)]
pub(crate) struct OnceToo(pub(crate) Once);

impl Job for OnceToo {
    const KIND: &'static str = "fixture.once_too";
    const LANE: Lane = Lane::Standard;

    fn unique_key(&self) -> Option<String> {
        self.0.unique_key()
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for OnceToo {
    async fn run(self, cx: JobCx) -> Result<()> {
        self.0.run(cx).await
    }
}

/// Goes through a pipeline, two at once of each key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) waits: bool,
}

impl Parcel {
    pub(crate) fn new(key: &str, name: &str, waits: bool) -> Self {
        Self { key: key.to_owned(), name: name.to_owned(), waits }
    }
}

impl Job for Parcel {
    const KIND: &'static str = "fixture.parcel";
    const LANE: Lane = Lane::Standard;
    const PER_KEY: usize = 2;
    const KEPT: bool = false;

    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }

    async fn given_up(_: &mut SystemTx, job: &Claimed<Self>, _: &str) -> Result<()> {
        Log::of(job.tenant).tell(&job.job.name);
        Ok(())
    }
}

impl RunBatch for Parcel {
    type Plan = Claimed<Self>;
    type Outcome = ();

    async fn plan(_: &mut SystemTx, jobs: &[Claimed<Self>]) -> Result<Vec<Claimed<Self>>> {
        Ok(jobs.to_vec())
    }

    async fn run(plan: Claimed<Self>, app: Arc<App>) -> Result<()> {
        let Claimed { tenant, job } = plan;
        let _run = Log::of(tenant).begin(&job.name, &job.key, &app);
        if job.waits {
            Watch::of(tenant).gate.pass().await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn record(_: &mut SystemTx, done: &[(Claimed<Self>, ())]) -> Result<Vec<Settlement>> {
        Ok(vec![Settlement::Done; done.len()])
    }
}
