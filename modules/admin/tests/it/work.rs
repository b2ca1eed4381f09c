//! Kinds of jobs that do what a test tells them, and what tests ask about them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use freehold_kernel::{
    Claimed, Error, Job, JobCx, JobId, Lane, Module, Priority, Result, RunJob, SystemRole,
    SystemTx, TenantId,
};
use freehold_testkit::{Client, Tenant, TestApp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

pub(crate) const QUEUES: &str = "/api/v1/admin/queues";
pub(crate) const JOBS: &str = "/api/v1/admin/jobs";

/// An application with jobs, a tenant, and an operator.
pub(crate) struct Stage {
    pub(crate) app: TestApp,
    pub(crate) acme: Tenant,
    pub(crate) platform: Tenant,
    pub(crate) operator: Client,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let app = TestApp::start([freehold_admin::module(), module()]).await;
        let (acme, platform) = (app.tenant("Acme").await, app.platform().await);
        let operator = app.principal(&platform).role(SystemRole::Operator);
        Self { app, acme, platform, operator }
    }

    pub(crate) fn watch(&self) -> Arc<Watch> {
        Watch::of(self.acme.id)
    }

    /// Asks for a job of acme's, and says which it is.
    pub(crate) async fn ask(&self, job: &impl Job) -> JobId {
        let mut tx = self.app.kernel().account_tx().await.unwrap();
        tx.enqueue(self.acme.id, job).unwrap();
        tx.commit().await.unwrap();
        // Ids grow: the newest is the one that was just asked for.
        let id = sqlx::query_scalar(
            "select max(id::text)::uuid from (select id from core.jobs union all
               select id from core.jobs_done union all select id from core.jobs_dead) as j",
        );
        JobId::from_uuid(id.fetch_one(self.app.sql()).await.unwrap())
    }

    pub(crate) async fn job(&self, id: JobId) -> Value {
        self.operator.get(&format!("{JOBS}/{id}")).await.expect(200).json().clone()
    }

    /// Waits until the job is in this state.
    pub(crate) async fn becomes(&self, id: JobId, state: &str) -> Value {
        soon(&format!("{id} is {state}"), async || {
            let job = self.job(id).await;
            (job["state"] == state).then_some(job)
        })
        .await
    }

    /// A job that a pause keeps from beginning: one stays where it is while another kind's runs. From
    /// then on the node knows of the pause, and those that it did not keep have run.
    pub(crate) async fn a_held_job(&self) -> JobId {
        soon("the node hears of the pause", async || {
            let held = self.ask(&Act::new("held")).await;
            let other = self.ask(&Quick).await;
            self.becomes(other, "completed").await;
            if self.job(held).await["state"] == "waiting" {
                return Some(held);
            }
            self.becomes(held, "completed").await;
            None
        })
        .await
    }

    /// One of the queues.
    pub(crate) async fn queue(&self, name: &str) -> Value {
        let all = self.operator.get(QUEUES).await;
        let all = all.expect(200).json()["data"].as_array().unwrap().clone();
        all.into_iter().find(|queue| queue["name"] == name).unwrap_or_default()
    }

    /// How often an event of this kind was recorded.
    pub(crate) async fn count(&self, tenant: &Tenant, kind: &str) -> usize {
        self.app.events(tenant).await.iter().filter(|event| event.kind == kind).count()
    }
}

fn module() -> Module {
    Module::new("work").job::<Act>().job::<Again>().job::<Quick>()
}

/// What jobs of a tenant wait for and leave behind in this process.
pub(crate) struct Watch {
    /// Jobs fail while this is so.
    pub(crate) is_broken: AtomicBool,
    pub(crate) runs: AtomicUsize,
    /// Lets jobs that hang go on.
    pub(crate) gate: Semaphore,
    /// Why jobs were given up.
    pub(crate) told: Mutex<Vec<String>>,
}

impl Watch {
    fn of(tenant: TenantId) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<TenantId, Arc<Watch>>>> = LazyLock::new(Mutex::default);
        let new = || {
            Arc::new(Self {
                is_broken: AtomicBool::new(false),
                runs: AtomicUsize::new(0),
                gate: Semaphore::new(0),
                told: Mutex::default(),
            })
        };
        ALL.lock().unwrap().entry(tenant).or_insert_with(new).clone()
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

/// Is done at once, hangs, or fails once and for all.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) name: String,
    pub(crate) hangs: bool,
}

impl Act {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), hangs: false }
    }

    pub(crate) fn hanging(name: &str) -> Self {
        Self { name: name.to_owned(), hangs: true }
    }
}

impl Job for Act {
    const KIND: &'static str = "work.act";
    const LANE: Lane = Lane::Standard;

    fn key(&self) -> Option<String> {
        self.name.strip_prefix("key/").map(ToOwned::to_owned)
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }

    async fn given_up(_: &mut SystemTx, job: &Claimed<Self>, why: &str) -> Result<()> {
        Watch::of(job.tenant).told.lock().unwrap().push(format!("{}: {why}", job.job.name));
        Ok(())
    }
}

impl RunJob for Act {
    async fn run(self, cx: JobCx) -> Result<()> {
        let watch = Watch::of(cx.tenant());
        watch.runs.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            cx.progress(1, 10).await?;
            watch.gate.acquire().await.unwrap().forget();
        }
        if watch.is_broken.load(Ordering::SeqCst) {
            return Err(Error::internal("as it was told"));
        }
        Ok(())
    }
}

/// Fails, and is tried again in an hour.
#[derive(Serialize, Deserialize)]
pub(crate) struct Again;

impl Job for Again {
    const KIND: &'static str = "work.again";
    const LANE: Lane = Lane::Bulk;
    const PER_KEY: usize = 3;

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn retry_after(_: u32) -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }
}

impl RunJob for Again {
    async fn run(self, _: JobCx) -> Result<()> {
        Err(Error::internal("not yet"))
    }
}

/// Is done at once, in another lane.
#[derive(Serialize, Deserialize)]
pub(crate) struct Quick;

impl Job for Quick {
    const KIND: &'static str = "work.quick";
    const LANE: Lane = Lane::Transactional;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Quick {
    async fn run(self, _: JobCx) -> Result<()> {
        Ok(())
    }
}

/// Asks until there is an answer.
pub(crate) async fn soon<T>(what: &str, mut answer: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = answer().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "this takes too long: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
