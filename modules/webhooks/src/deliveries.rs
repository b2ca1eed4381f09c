//! The delivery log: what was sent where, how often, and what came back.

use freehold_kernel::{
    Error, Event, EventId, Id, Json, List, Named, Page, Path, Result, Routes, Timestamp, Tx,
    endpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Settings;
use crate::deliver::{Deliver, Reason};
use crate::endpoints::{EndpointId, confined_to, find as find_endpoint};

/// What becomes of a delivery.
const STATUSES: [&str; 3] = ["pending", "delivered", "failed"];

/// What events say on one page, but for the first of them; the next ones are on the next page.
pub(crate) const PAGE_BYTES_MAX: i64 = 4 * 1024 * 1024;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/webhooks/{id}/deliveries")
        .get("/", "webhooks:read", list_deliveries)
        .portal()
        .get("/{delivery}", "webhooks:read", get_delivery)
        .portal()
        .post("/{delivery}/retry", "webhooks:write", retry_delivery)
        .portal()
}

/// The id of a delivery.
pub(crate) type DeliveryId = Id<Delivery>;

/// One event on its way to one receiver.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::Delivery)]
pub(crate) struct Delivery {
    /// The delivery.
    id: DeliveryId,
    /// The endpoint it goes to.
    webhook_id: EndpointId,
    /// The event; the `webhook-id` of its requests.
    event_id: EventId,
    /// What happened.
    #[schema(example = "user.updated")]
    event: String,
    /// The event's fields; null once the event is no longer kept.
    #[schema(value_type = Option<Object>, example = json!({"userId": "usr_01jz8q6k3mf1g8tvkh4z6c9x2b"}))]
    payload: Option<Value>,
    /// `pending`, `delivered` or `failed`.
    #[schema(example = "delivered")]
    status: String,
    /// The HTTP status of the last answer.
    #[schema(example = 200)]
    status_code: Option<i32>,
    /// Why the last request failed, or why none is made.
    error: Option<String>,
    /// How many requests were made.
    #[schema(example = 1)]
    attempts: i32,
    /// When the next one is due.
    next_attempt_at: Option<Timestamp>,
    /// When it arrived.
    delivered_at: Option<Timestamp>,
    /// When it set out.
    created_at: Timestamp,
    /// Whether there is room for it on the page.
    #[serde(skip)]
    fits: bool,
}

impl Named for Delivery {
    const PREFIX: &'static str = "del";
}

/// A delivery with everything that was tried.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::DeliveryWithAttempts)]
struct DeliveryWithAttempts {
    /// The delivery.
    #[serde(flatten)]
    #[schema(inline)]
    delivery: Delivery,
    /// Each request, the first one first.
    tries: Vec<Attempt>,
}

/// One request to a receiver.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::Attempt)]
struct Attempt {
    /// Which request it was, from 1.
    #[schema(example = 1)]
    number: i32,
    /// When it was made.
    at: Timestamp,
    /// Where it went; null for requests made before this was written down.
    #[schema(example = "https://example.org/hooks/freehold")]
    url: Option<String>,
    /// How long it took, in milliseconds.
    #[schema(example = 12)]
    duration_ms: i32,
    /// The HTTP status of the answer.
    #[schema(example = 200)]
    status_code: Option<i32>,
    /// Why there was no good answer.
    error: Option<String>,
    /// The headers of the answer, without cookies; null if nothing answered.
    #[schema(value_type = Option<Object>, example = json!({"content-type": "text/plain"}))]
    response_headers: Option<Value>,
    /// The first 4 KiB of the answer.
    #[schema(example = "ok")]
    response_body: Option<String>,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::DeliveryFilter)]
struct DeliveryFilter {
    /// `pending`, `delivered` or `failed`.
    #[schema(example = "failed", pattern = "^(pending|delivered|failed)$")]
    status: Option<String>,
    /// Only events of this name.
    #[schema(example = "user.updated")]
    event: Option<String>,
    /// Only this event.
    event_id: Option<EventId>,
    /// Only what happened then or later.
    since: Option<Timestamp>,
    /// Only what happened before.
    until: Option<Timestamp>,
}

/// List an endpoint's deliveries, newest first.
#[endpoint]
async fn list_deliveries(
    Path(id): Path<EndpointId>,
    list: List<DeliveryFilter>,
    mut tx: Tx,
) -> Result<Page<Delivery>> {
    let filter = &list.filter;
    let before = [list.after()?, filter.until.map(first_id)].into_iter().flatten().min();
    let before = before.unwrap_or(Uuid::max());
    if filter.status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(Error::invalid("status", "core.choice", STATUSES.join(", ")));
    }
    find_endpoint(&mut tx, id).await?;
    let (tenant, kept_since) = (tx.tenant(), kept_since(&tx));
    let deliveries = sqlx::query_as!(
        Delivery,
        r#"select l.id as "id!: DeliveryId", l.webhook_id as "webhook_id!: EndpointId",
           l.event_id as "event_id!: EventId", l.event as "event!", l.payload as "payload?",
           l.status as "status!", l.status_code, l.error, l.attempts as "attempts!", l.next_attempt_at, l.delivered_at,
           l.created_at as "created_at!",
           coalesce(sum(octet_length(l.payload::text)) over before, 0) < $10 as "fits!"
         from (
           select d.id, d.endpoint_id as webhook_id, d.event_id, d.event_type as event,
             e.data as payload, d.status, d.status_code, d.error, d.attempts, d.next_attempt_at,
             d.delivered_at, d.created_at
           from webhooks.deliveries d
           left join core.events e
             on e.tenant_id = d.tenant_id and e.at = d.event_at and e.id = d.event_id and e.at >= $9
           where d.tenant_id = $1 and d.endpoint_id = $2 and d.id >= $3 and d.id < $4
             and ($5::text is null or d.status = $5) and ($6::text is null or d.event_type = $6)
             and ($7::uuid is null or d.id = webhooks.delivery_id($7, $2))
           order by d.id desc limit $8) as l
         window before as (order by l.id desc rows between unbounded preceding and 1 preceding)
         order by l.id desc"#,
        *tenant,
        *id,
        filter.since.map_or(Uuid::nil(), first_id),
        before,
        filter.status,
        filter.event,
        filter.event_id.map(|event| *event),
        list.fetch_limit(),
        kept_since as _,
        PAGE_BYTES_MAX,
    )
    .fetch_all(tx.db())
    .await?;
    list.page_while(deliveries, |delivery| delivery.fits, |delivery| *delivery.id)
}

/// The least id of a delivery of an event of this millisecond: ids begin with the time, and are what
/// the log is ordered and indexed by.
fn first_id(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::from(u64::try_from(at.unix_ms()).unwrap_or_default()) << 80)
}

/// What events say is shown for as long as bodies are kept.
fn kept_since(tx: &Tx) -> Timestamp {
    let settings: Settings = tx.app().state().unwrap_or_default();
    tx.real_now() - settings.bodies_kept
}

/// See a delivery and each of its requests.
#[endpoint]
async fn get_delivery(
    Path((id, delivery)): Path<(EndpointId, DeliveryId)>,
    mut tx: Tx,
) -> Result<Json<DeliveryWithAttempts>> {
    let tenant = tx.tenant();
    let found = find(&mut tx, id, delivery).await?;
    let tries = sqlx::query_as!(
        Attempt,
        "select number, at, url, duration_ms, status_code, error, response_headers, response_body
         from webhooks.attempts where tenant_id = $1 and delivery_id = $2 order by number",
        *tenant,
        *delivery,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(Json(DeliveryWithAttempts { delivery: found, tries }))
}

/// Somebody asked for another request of a delivery.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDeliveryRetried)]
#[event(type = "webhook.delivery.retried", subject = webhook_id)]
pub(crate) struct DeliveryRetried {
    /// The endpoint.
    webhook_id: EndpointId,
    /// The delivery.
    delivery_id: DeliveryId,
    /// The event that is sent again.
    event_id: EventId,
}

/// Try a delivery again, now, whatever became of it. Requests already made count: after the last
/// retry it is tried once.
#[endpoint("webhooks.switched_off", "webhooks.event_gone")]
async fn retry_delivery(
    Path((id, delivery)): Path<(EndpointId, DeliveryId)>,
    mut tx: Tx,
) -> Result<Json<Delivery>> {
    let endpoint = find_endpoint(&mut tx, id).await?;
    let (tenant, now) = (tx.tenant(), tx.now());
    if !endpoint.is_active {
        return Err(Error::conflict(
            "webhooks.switched_off",
            "This webhook is switched off; switch it on first.",
        ));
    }
    let retried = sqlx::query!(
        r#"update webhooks.deliveries d
         set status = 'pending', next_attempt_at = $4, turn = turn + 1
         where tenant_id = $1 and endpoint_id = $2 and id = $3
         returning turn, event_id as "event_id: EventId", exists (
           select from core.events e
           where e.tenant_id = d.tenant_id and e.at = d.event_at and e.id = d.event_id
         ) as "is_kept!""#,
        *tenant,
        *id,
        *delivery,
        now as _,
    )
    .fetch_one(tx.db())
    .await?;
    if !retried.is_kept {
        let words = "Its event is no longer kept, so there is nothing to send.";
        return Err(Error::conflict("webhooks.event_gone", words));
    }
    tx.enqueue(&Deliver { delivery, endpoint: id, turn: retried.turn, reason: Reason::Asked })?;
    let event_id = retried.event_id;
    tx.emit(DeliveryRetried { webhook_id: id, delivery_id: delivery, event_id }).await?;
    Ok(Json(find(&mut tx, id, delivery).await?))
}

/// One of an endpoint that the caller may see.
async fn find(tx: &mut Tx, id: EndpointId, delivery: DeliveryId) -> Result<Delivery> {
    let (tenant, customer, kept_since) = (tx.tenant(), confined_to(tx), kept_since(tx));
    let found = sqlx::query_as!(
        Delivery,
        r#"select d.id, d.endpoint_id as webhook_id, d.event_id, d.event_type as event,
           e.data as "payload?", d.status, d.status_code, d.error, d.attempts, d.next_attempt_at,
           d.delivered_at, d.created_at, true as "fits!"
         from webhooks.deliveries d
         join webhooks.endpoints w on w.tenant_id = d.tenant_id and w.id = d.endpoint_id
         left join core.events e
           on e.tenant_id = d.tenant_id and e.at = d.event_at and e.id = d.event_id and e.at >= $5
         where d.tenant_id = $1 and d.endpoint_id = $2 and d.id = $3
           and ($4::text is null or w.customer = $4)"#,
        *tenant,
        *id,
        *delivery,
        customer.as_deref(),
        kept_since as _,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}
