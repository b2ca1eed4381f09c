//! Replays: an endpoint is sent again what it missed in a window of time, as after an outage of its
//! receiver. A job goes through the events of the window ([`Resend`]); whoever waits sees how far it
//! has come.

use freehold_kernel::{
    Accepted, Error, Event, Id, Json, List, Named, NoFilter, Page, Path, Result, Routes, Timestamp,
    Tx, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::endpoint_input::event_pattern;
use crate::endpoints::{EndpointId, confined_to, find as find_endpoint};
use crate::resend::Resend;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/webhooks/{id}")
        .post("/replay", "webhooks:write", replay_webhook)
        .portal()
        .get("/replays", "webhooks:read", list_replays)
        .portal()
        .get("/replays/{replay}", "webhooks:read", get_replay)
        .portal()
        .post("/replays/{replay}/cancel", "webhooks:write", cancel_replay)
        .portal()
}

/// The id of a replay.
pub(crate) type ReplayId = Id<Replay>;

/// A window of events that a receiver is sent again what it missed of.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::Replay)]
pub(crate) struct Replay {
    /// The replay.
    id: ReplayId,
    /// The endpoint.
    webhook_id: EndpointId,
    /// The beginning of the window.
    since: Timestamp,
    /// Its end, which is not part of it.
    until: Timestamp,
    /// Which events: names, `resource.*`, or `*`.
    #[schema(example = json!(["*"]))]
    events: Vec<String>,
    /// `running`, `completed`, `cancelled` or `failed`.
    #[schema(example = "running")]
    status: String,
    /// Why it failed.
    #[schema(example = "the webhook was switched off")]
    error: Option<String>,
    /// How many events there are in the window; null until they have been counted, and where there
    /// are more than a million.
    #[schema(example = 12_000)]
    total: Option<i64>,
    /// How many of them have been looked at.
    #[schema(example = 4_500)]
    looked_at: i64,
    /// How many are sent again: those that the endpoint wants and that had not arrived.
    #[schema(example = 310)]
    sent: i64,
    /// Who asked for it.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    created_by: String,
    /// When.
    created_at: Timestamp,
    /// When it ended.
    finished_at: Option<Timestamp>,
}

impl Named for Replay {
    const PREFIX: &'static str = "rpl";
}

/// What to send again.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewReplay)]
struct NewReplay {
    /// The beginning of the window.
    #[garde(skip)]
    since: Timestamp,
    /// Its end; now, if absent.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// Only these events: names, `resource.*`, or `*`; all that the endpoint wants, if absent.
    #[serde(default = "all")]
    #[garde(length(min = 1, max = 100), inner(custom(event_pattern)))]
    #[schema(
        example = json!(["order.*"]),
        pattern = r"^(\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.(\*|[a-z0-9_-]+))$",
        max_length = 128,
        min_items = 1,
        max_items = 100
    )]
    events: Vec<String>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

/// A receiver is sent again what it missed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookReplayed)]
#[event(type = "webhook.replayed", subject = webhook_id)]
pub(crate) struct WebhookReplayed {
    /// The endpoint.
    webhook_id: EndpointId,
    /// The replay.
    replay_id: ReplayId,
    /// The beginning of the window.
    since: Timestamp,
    /// Its end.
    until: Timestamp,
}

/// A replay was stopped before it had gone through its window.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookReplayCancelled)]
#[event(type = "webhook.replay_cancelled", subject = webhook_id)]
pub(crate) struct WebhookReplayCancelled {
    /// The endpoint.
    webhook_id: EndpointId,
    /// The replay.
    replay_id: ReplayId,
}

/// Send an endpoint again what it missed of a window of time: events that it wants whose delivery
/// failed, or that were never sent to it because it was switched off or did not want them then. What
/// happens meanwhile goes first. One replay of an endpoint runs at a time.
#[endpoint("webhooks.switched_off", "webhooks.replay_running", "webhooks.empty_window")]
async fn replay_webhook(
    Path(id): Path<EndpointId>,
    Json(new): Json<NewReplay>,
    mut tx: Tx,
) -> Result<Accepted<Replay>> {
    let endpoint = find_endpoint(&mut tx, id).await?;
    if !endpoint.is_active {
        let words = "This webhook is switched off; switch it on first.";
        return Err(Error::conflict("webhooks.switched_off", words));
    }
    let (tenant, replay, now) = (tx.tenant(), ReplayId::new(), tx.real_now());
    let (since, until) = (new.since, new.until.map_or(now, |until| until.min(now)));
    if since >= until {
        let words = "begins in the past and before `until`";
        return Err(Error::invalid("/since", "webhooks.empty_window", words));
    }
    let created_by = tx.actor()?.principal.to_string();
    let made = sqlx::query!(
        "insert into webhooks.replays
           (tenant_id, id, endpoint_id, since, until, events, reached_at, reached_id, created_by,
            created_at)
         values ($1, $2, $3, $4, $5, $6, $4, $7, $8, $9)
         on conflict (tenant_id, endpoint_id) where status = 'running' do nothing",
        *tenant,
        *replay,
        *id,
        since as _,
        until as _,
        &new.events,
        Uuid::nil(),
        created_by,
        now as _,
    )
    .execute(tx.db())
    .await?;
    if made.rows_affected() == 0 {
        let words = "A replay of this webhook is running; wait for it or cancel it.";
        return Err(Error::conflict("webhooks.replay_running", words));
    }
    tx.emit(WebhookReplayed { webhook_id: id, replay_id: replay, since, until }).await?;
    tx.enqueue(&Resend { replay, endpoint: id })?;
    Ok(Accepted(find(&mut tx, id, replay).await?))
}

/// List an endpoint's replays, newest first.
#[endpoint]
async fn list_replays(
    Path(id): Path<EndpointId>,
    list: List<NoFilter>,
    mut tx: Tx,
) -> Result<Page<Replay>> {
    find_endpoint(&mut tx, id).await?;
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let replays = sqlx::query_as!(
        Replay,
        "select id, endpoint_id as webhook_id, since, until, events, status, error, total, looked_at,
           sent, created_by, created_at, finished_at
         from webhooks.replays
         where tenant_id = $1 and endpoint_id = $2 and ($3::uuid is null or id < $3)
         order by id desc limit $4",
        *tenant,
        *id,
        after,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(replays, |replay| *replay.id)
}

/// See how far a replay has come.
#[endpoint]
async fn get_replay(
    Path((id, replay)): Path<(EndpointId, ReplayId)>,
    mut tx: Tx,
) -> Result<Json<Replay>> {
    Ok(Json(find(&mut tx, id, replay).await?))
}

/// Stop a replay. What it has sent on its way so far still arrives.
#[endpoint("webhooks.replay_ended")]
async fn cancel_replay(
    Path((id, replay)): Path<(EndpointId, ReplayId)>,
    mut tx: Tx,
) -> Result<Json<Replay>> {
    find(&mut tx, id, replay).await?;
    let (tenant, now) = (tx.tenant(), tx.real_now());
    let stopped = sqlx::query!(
        "update webhooks.replays set status = 'cancelled', finished_at = $4
         where tenant_id = $1 and endpoint_id = $2 and id = $3 and status = 'running'",
        *tenant,
        *id,
        *replay,
        now as _,
    )
    .execute(tx.db())
    .await?;
    if stopped.rows_affected() == 0 {
        return Err(Error::conflict("webhooks.replay_ended", "This replay has ended already."));
    }
    tx.emit(WebhookReplayCancelled { webhook_id: id, replay_id: replay }).await?;
    Ok(Json(find(&mut tx, id, replay).await?))
}

/// One of an endpoint that the caller may see.
async fn find(tx: &mut Tx, id: EndpointId, replay: ReplayId) -> Result<Replay> {
    let (tenant, customer) = (tx.tenant(), confined_to(tx));
    let found = sqlx::query_as!(
        Replay,
        "select r.id, r.endpoint_id as webhook_id, r.since, r.until, r.events, r.status, r.error,
           r.total, r.looked_at, r.sent, r.created_by, r.created_at, r.finished_at
         from webhooks.replays r
         join webhooks.endpoints w on w.tenant_id = r.tenant_id and w.id = r.endpoint_id
         where r.tenant_id = $1 and r.endpoint_id = $2 and r.id = $3
           and ($4::text is null or w.customer = $4)",
        *tenant,
        *id,
        *replay,
        customer.as_deref(),
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}
