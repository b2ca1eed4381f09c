//! What operators do with the queue, as routes of the fixture, and what tests ask of it.

use std::sync::Arc;
use std::time::Duration;

use freehold_kernel::{
    Cx, DeadJobs, Job, JobId, Json, Result, Routes, TenantId, Timestamp, endpoint,
};
use freehold_testkit::{Tenant, TestApp, TestAppBuilder};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::queue_kinds;
use crate::stream::{count, within};

pub(crate) const JOBS: &str = "select count(*) from core.jobs";
pub(crate) const DONE: &str = "select count(*) from core.jobs_done";
pub(crate) const DEAD: &str = "select count(*) from core.jobs_dead";
pub(crate) const CANCELLED: &str = "select count(*) from core.jobs_dead where state = 'cancelled'";
pub(crate) const ACTIVE: &str = "select count(*) from core.jobs where state = 'active'";

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/things/queue")
        .post("/pause", "things:write", pause)
        .post("/resume", "things:write", resume)
        .post("/cancel", "things:write", cancel)
        .post("/retry", "things:write", retry)
}

/// A queue.
#[derive(Serialize, Deserialize, ToSchema, Validate)]
#[schema(as = fixture::QueueName)]
struct QueueName {
    /// A lane, a kind, or a kind and a key.
    #[garde(length(chars, max = 300))]
    name: String,
}

/// Jobs by their ids.
#[derive(Serialize, Deserialize, ToSchema, Validate)]
#[schema(as = fixture::JobIds)]
struct JobIds {
    /// Their ids.
    #[garde(skip)]
    ids: Vec<Uuid>,
}

/// Jobs that are to run again.
#[derive(Default, Serialize, Deserialize, ToSchema, Validate)]
#[schema(as = fixture::Retry)]
pub(crate) struct Retry {
    /// This one.
    #[garde(skip)]
    pub(crate) id: Option<Uuid>,
    /// Of this kind.
    #[garde(inner(length(chars, max = 80)))]
    pub(crate) kind: Option<String>,
    /// Of this tenant.
    #[garde(skip)]
    pub(crate) tenant: Option<TenantId>,
    /// Given up then or later.
    #[garde(skip)]
    pub(crate) since: Option<Timestamp>,
    /// Given up before.
    #[garde(skip)]
    pub(crate) until: Option<Timestamp>,
    /// At most so many.
    #[garde(skip)]
    pub(crate) limit: i64,
}

/// How many it was.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = fixture::Changed)]
struct Changed {
    /// So many.
    count: usize,
}

/// Pause a queue.
#[endpoint]
async fn pause(cx: Cx, Json(queue): Json<QueueName>) -> Result<Json<Changed>> {
    let mut tx = cx.platform_tx().await?;
    let paused = tx.pause_queue(&queue.name, "a test").await?;
    tx.commit().await?;
    Ok(Json(Changed { count: paused.into() }))
}

/// Let a queue go on.
#[endpoint]
async fn resume(cx: Cx, Json(queue): Json<QueueName>) -> Result<Json<Changed>> {
    let mut tx = cx.platform_tx().await?;
    let resumed = tx.resume_queue(&queue.name).await?;
    tx.commit().await?;
    Ok(Json(Changed { count: resumed.into() }))
}

/// Cancel jobs.
#[endpoint]
async fn cancel(cx: Cx, Json(jobs): Json<JobIds>) -> Result<Json<Changed>> {
    let mut tx = cx.platform_tx().await?;
    let mut count = 0;
    for id in jobs.ids {
        count += usize::from(tx.cancel_job(JobId::from_uuid(id), "a test").await?.is_some());
    }
    tx.commit().await?;
    Ok(Json(Changed { count }))
}

/// Let jobs run again.
#[endpoint]
async fn retry(cx: Cx, Json(which): Json<Retry>) -> Result<Json<Changed>> {
    let Retry { id, kind, tenant, since, until, limit } = which;
    let dead = DeadJobs { id: id.map(JobId::from_uuid), kind, tenant, since, until };
    let mut tx = cx.platform_tx().await?;
    let again = tx.retry_jobs(&dead, limit).await?;
    tx.commit().await?;
    Ok(Json(Changed { count: again.len() }))
}

/// An operator at a node.
pub(crate) struct Operator<'a>(pub(crate) &'a TestApp, pub(crate) &'a Tenant);

impl Operator<'_> {
    async fn order(&self, what: &str, order: impl Serialize) -> usize {
        let path = format!("/api/v1/things/queue/{what}");
        let client = self.0.principal(self.1).everything();
        let answer = client.post(&path, order).await;
        serde_json::from_value::<Changed>(answer.expect(200).json().clone()).unwrap().count
    }

    pub(crate) async fn pause(&self, name: &str) -> bool {
        self.order("pause", QueueName { name: name.to_owned() }).await == 1
    }

    pub(crate) async fn resume(&self, name: &str) -> bool {
        self.order("resume", QueueName { name: name.to_owned() }).await == 1
    }

    pub(crate) async fn cancel(&self, ids: Vec<Uuid>) -> usize {
        self.order("cancel", JobIds { ids }).await
    }

    pub(crate) async fn retry(&self, which: Retry) -> usize {
        self.order("retry", which).await
    }
}

/// A node that works on these kinds, and a tenant.
pub(crate) async fn acme() -> (TestApp, Tenant) {
    acme_on(node()).await
}

pub(crate) async fn acme_on(node: TestAppBuilder) -> (TestApp, Tenant) {
    let app = node.start().await;
    let acme = app.tenant("Acme").await;
    (app, acme)
}

pub(crate) fn node() -> TestAppBuilder {
    TestApp::with([queue_kinds::module()])
}

/// A node with so many places for ordinary jobs.
pub(crate) fn narrow_node(places: usize) -> TestAppBuilder {
    node().config(move |config| config.limits.lanes.standard = places)
}

/// Another node beside this one.
pub(crate) async fn beside(app: &TestApp) -> TestApp {
    node().beside(app).start().await
}

/// Asks for jobs in one transaction.
pub(crate) async fn ask<J: Job>(app: &TestApp, tenant: &Tenant, jobs: &[J]) {
    let mut tx = app.kernel().tenant_tx(tenant.id).await.unwrap();
    jobs.iter().for_each(|job| tx.enqueue(job).unwrap());
    tx.commit().await.unwrap();
}

/// Asks for a job that is due after a while.
pub(crate) async fn ask_later<J: Job>(app: &TestApp, tenant: &Tenant, job: &J, after: Duration) {
    let mut tx = app.kernel().tenant_tx(tenant.id).await.unwrap();
    tx.enqueue_after(job, after).unwrap();
    tx.commit().await.unwrap();
}

/// The jobs in a state, the oldest first.
pub(crate) async fn ids(app: &TestApp, state: &str) -> Vec<Uuid> {
    sqlx::query_scalar("select id from core.jobs where state = $1 order by id")
        .bind(state)
        .fetch_all(app.sql())
        .await
        .unwrap()
}

/// A node dies: it stops at once and tells nobody, and its lease runs out.
pub(crate) async fn kill(node: &TestApp, others: &TestApp) {
    node.kernel().stop().await;
    let before = leases(others).await;
    // Whoever renews is alive.
    let dead = within(Duration::from_secs(12), "the others renew", async || {
        let now = leases(others).await;
        let dead: Vec<Uuid> =
            before.iter().filter(|lease| now.contains(lease)).map(|(id, _)| *id).collect();
        (dead.len() == 1).then(|| dead[0])
    })
    .await;
    sqlx::query("update core.nodes set lease_until = clock_timestamp() where id = $1")
        .bind(dead)
        .execute(others.sql())
        .await
        .unwrap();
}

/// Of the nodes that live.
async fn leases(app: &TestApp) -> Vec<(Uuid, Timestamp)> {
    let leases = sqlx::query_as(
        "select id, lease_until from core.nodes
         where gone_at is null and lease_until > clock_timestamp()",
    );
    leases.fetch_all(app.sql()).await.unwrap()
}

/// Waits until so many nodes share the keys.
pub(crate) async fn settled(app: &TestApp, nodes: i64) {
    let shared = "select count(distinct node) from core.job_shards
      where not exists (select from core.job_shards where node is null)";
    within(Duration::from_secs(20), "the nodes share the keys", async || {
        (count(app, shared).await == nodes).then_some(())
    })
    .await;
}

/// Tells nodes apart, as [`queue_kinds::Begun`] does.
pub(crate) fn node_of(app: &TestApp) -> usize {
    Arc::as_ptr(app.kernel()) as usize
}
