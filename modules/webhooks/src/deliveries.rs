//! The delivery log: what was sent where, how often, and what came back.

use freehold_kernel::{
    Error, EventId, Id, Json, List, Named, Page, Path, Result, Routes, Timestamp, Tx, endpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::deliver::{Deliver, Reason};
use crate::endpoints::{EndpointId, confined_to, find as find_endpoint};

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
    /// Why the last request failed.
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
    /// How long it took, in milliseconds.
    #[schema(example = 12)]
    duration_ms: i32,
    /// The HTTP status of the answer.
    #[schema(example = 200)]
    status_code: Option<i32>,
    /// Why there was no good answer.
    error: Option<String>,
    /// The first 4 KiB of the answer.
    #[schema(example = "ok")]
    response_body: Option<String>,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = webhooks::DeliveryFilter)]
struct DeliveryFilter {
    /// `pending`, `delivered` or `failed`.
    #[schema(example = "failed")]
    status: Option<String>,
    /// Only events of this name.
    #[schema(example = "user.updated")]
    event: Option<String>,
}

/// List an endpoint's deliveries, newest first.
#[endpoint]
async fn list_deliveries(
    Path(id): Path<EndpointId>,
    list: List<DeliveryFilter>,
    mut tx: Tx,
) -> Result<Page<Delivery>> {
    find_endpoint(&mut tx, id).await?;
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let deliveries = sqlx::query_as!(
        Delivery,
        r#"select d.id, d.endpoint_id as webhook_id, d.event_id, d.event_type as event,
           e.data as "payload?", d.status, d.status_code, d.error, d.attempts, d.next_attempt_at,
           d.delivered_at, d.created_at
         from webhooks.deliveries d
         left join core.events e
           on e.tenant_id = d.tenant_id and e.at = d.event_at and e.id = d.event_id
         where d.tenant_id = $1 and d.endpoint_id = $2 and ($3::uuid is null or d.id < $3)
           and ($4::text is null or d.status = $4) and ($5::text is null or d.event_type = $5)
         order by d.id desc limit $6"#,
        *tenant,
        *id,
        after,
        list.filter.status,
        list.filter.event,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(deliveries, |delivery| *delivery.id)
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
        "select number, at, duration_ms, status_code, error, response_body
         from webhooks.attempts where tenant_id = $1 and delivery_id = $2 order by number",
        *tenant,
        *delivery,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(Json(DeliveryWithAttempts { delivery: found, tries }))
}

/// Try a delivery again, now, whatever became of it. Requests already made count: after the last
/// retry it is tried once.
#[endpoint("webhooks.switched_off")]
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
        "update webhooks.deliveries
         set status = 'pending', next_attempt_at = $4, turn = turn + 1
         where tenant_id = $1 and endpoint_id = $2 and id = $3
         returning turn",
        *tenant,
        *id,
        *delivery,
        now as _,
    )
    .fetch_one(tx.db())
    .await?;
    tx.enqueue(&Deliver { delivery, endpoint: id, turn: retried.turn, reason: Reason::Asked })?;
    Ok(Json(find(&mut tx, id, delivery).await?))
}

/// One of an endpoint that the caller may see.
async fn find(tx: &mut Tx, id: EndpointId, delivery: DeliveryId) -> Result<Delivery> {
    let (tenant, customer) = (tx.tenant(), confined_to(tx));
    let found = sqlx::query_as!(
        Delivery,
        r#"select d.id, d.endpoint_id as webhook_id, d.event_id, d.event_type as event,
           e.data as "payload?", d.status, d.status_code, d.error, d.attempts, d.next_attempt_at,
           d.delivered_at, d.created_at
         from webhooks.deliveries d
         join webhooks.endpoints w on w.tenant_id = d.tenant_id and w.id = d.endpoint_id
         left join core.events e
           on e.tenant_id = d.tenant_id and e.at = d.event_at and e.id = d.event_id
         where d.tenant_id = $1 and d.endpoint_id = $2 and d.id = $3
           and ($4::text is null or w.customer = $4)"#,
        *tenant,
        *id,
        *delivery,
        customer.as_deref(),
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}
