//! `GET /admin/queues`, `POST /admin/queues/{queue}/pause` and `/resume`: lanes and kinds of jobs.

use freehold_kernel::{
    App, Cx, Error, Event, FromSegment, Json, Path, PlatformTx, Reason, Result, Routes, TenantId,
    Timestamp, endpoint,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::counts;
use crate::queue_list::CountedQueue;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/admin/queues")
        .get("/", "jobs:oversee", list_queues)
        .post("/{queue}/pause", "jobs:operate", pause_queue)
        .post("/{queue}/resume", "jobs:operate", resume_queue)
}

/// Every lane and every kind of job.
#[derive(Serialize, ToSchema)]
#[schema(as = admin::Queues)]
struct Queues {
    /// Each lane and, after it, its kinds by name.
    data: Vec<CountedQueue>,
}

/// A lane, or a kind of job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::Queue)]
pub(crate) struct Queue {
    /// What it is paused and resumed by: the name of the lane or of the kind.
    #[schema(example = "webhooks.deliver")]
    pub(crate) name: String,
    /// The lane: `transactional`, `standard` or `bulk`. Null for a kind of another release that has no
    /// jobs at the moment.
    #[schema(example = "standard")]
    pub(crate) lane: Option<String>,
    /// The kind of job; null for the lane itself.
    #[schema(example = "webhooks.deliver")]
    pub(crate) kind: Option<String>,
    /// Of a lane, how many jobs run at once on each node; of a kind, how many with the same key over
    /// all nodes. Null for a kind that this release does not know.
    #[schema(example = 10)]
    pub(crate) limit: Option<usize>,
    /// Since when it hands nothing out, and whose doing that is. Null: it is not paused.
    pub(crate) paused: Option<Pause>,
}

/// That a queue hands nothing out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = admin::Pause)]
pub(crate) struct Pause {
    /// Since when.
    pub(crate) since: Timestamp,
    /// The operator who paused it.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    pub(crate) by: String,
}

/// An operator paused a lane or a kind of job: what runs goes on, and nothing begins. Recorded in the
/// operators' own tenant.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::QueuePaused)]
#[event(type = "queue.paused", subject = queue)]
pub(crate) struct QueuePaused {
    /// The lane or the kind.
    #[schema(example = "webhooks.deliver")]
    queue: String,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// An operator let a lane or a kind of job go on. Recorded in the operators' own tenant.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::QueueResumed)]
#[event(type = "queue.resumed", subject = queue)]
pub(crate) struct QueueResumed {
    /// The lane or the kind.
    #[schema(example = "webhooks.deliver")]
    queue: String,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// The name of a queue in a path.
struct QueueName(String);

impl FromSegment for QueueName {
    fn schema() -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": 200, "example": "webhooks.deliver"})
    }

    fn from_segment(segment: &str) -> Option<Self> {
        let is_name = (1..=200).contains(&segment.len()) && !segment.contains(char::is_control);
        is_name.then(|| Self(segment.to_owned()))
    }
}

/// See every queue: each lane and each kind of job, how much waits, runs and ended there. For
/// operators.
///
/// What ended is written down every few seconds. Counts of what waits stop at 10,000 for each kind,
/// tenant and key.
#[endpoint]
async fn list_queues(cx: Cx) -> Result<Json<Queues>> {
    let mut tx = cx.platform_tx().await?;
    let facts = counts::read(&mut tx, cx.app()).await?;
    Ok(Json(Queues { data: facts.list() }))
}

/// Pause a lane or a kind of job: what runs goes on, and nothing begins, on every node, within a
/// second. For operators.
#[endpoint]
async fn pause_queue(
    cx: Cx,
    Path(QueueName(name)): Path<QueueName>,
    Reason(reason): Reason,
) -> Result<Json<Queue>> {
    let known = known(cx.app(), &name).ok_or_else(Error::not_found)?;
    let by = cx.signed_in()?.principal.to_string();
    let mut tx = cx.platform_tx().await?;
    if tx.pause_queue(&name, &by).await? {
        tx.emit(own(&cx)?, QueuePaused { queue: name.clone(), reason }).await?;
    }
    let paused = pause_of(&mut tx, &name).await?;
    tx.commit().await?;
    Ok(Json(Queue { paused, ..known }))
}

/// Let a lane or a kind of job go on. For operators.
#[endpoint]
async fn resume_queue(
    cx: Cx,
    Path(QueueName(name)): Path<QueueName>,
    Reason(reason): Reason,
) -> Result<Json<Queue>> {
    let mut tx = cx.platform_tx().await?;
    let was_paused = tx.resume_queue(&name).await?;
    // What a former release knew and somebody paused can be resumed still.
    let former = || Queue {
        name: name.clone(),
        lane: None,
        kind: Some(name.clone()),
        limit: None,
        paused: None,
    };
    let known = known(cx.app(), &name).or_else(|| was_paused.then(former));
    let queue = known.ok_or_else(Error::not_found)?;
    if was_paused {
        tx.emit(own(&cx)?, QueueResumed { queue: name, reason }).await?;
    }
    tx.commit().await?;
    Ok(Json(queue))
}

/// A lane or a kind of this release, as if it were not paused.
fn known(app: &App, name: &str) -> Option<Queue> {
    let queue = |lane: &str, kind: Option<&str>, limit| Queue {
        name: name.to_owned(),
        lane: Some(lane.to_owned()),
        kind: kind.map(ToOwned::to_owned),
        limit: Some(limit),
        paused: None,
    };
    let lane = app.lanes().into_iter().find(|(lane, _)| *lane == name);
    let lane = lane.map(|(lane, places)| queue(lane, None, places));
    lane.or_else(|| {
        let kind = app.kinds().into_iter().find(|kind| kind.name == name)?;
        Some(queue(kind.lane, Some(kind.name), kind.per_key))
    })
}

async fn pause_of(tx: &mut PlatformTx, name: &str) -> Result<Option<Pause>> {
    let pause = sqlx::query_as!(
        Pause,
        "select paused_at as since, paused_by as by from core.paused_queues where name = $1",
        name,
    )
    .fetch_optional(tx.db())
    .await?;
    Ok(pause)
}

/// The operators' own tenant.
fn own(cx: &Cx) -> Result<TenantId> {
    cx.signed_in()?.tenant.ok_or_else(|| Error::internal("an operator who is in no tenant"))
}
