//! `POST /events`: events of the customer's own product, for the customer's own receivers.

use std::time::Duration;

use freehold_kernel::crypto::sha256;
use freehold_kernel::{
    Accepted, Error, EventId, Json, Kind, OnConstraint, Result, Routes, SystemTx, Tx, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How long an `id` of the caller's stands for the same event.
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);
const BYTES_MAX: usize = 256 * 1024;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/events").post("/", "events:write", send_event)
}

/// An event of the customer's own.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewEvent)]
struct NewEvent {
    /// What happened, in words of your own, as in `order.paid`. Freehold's own words are refused.
    #[garde(length(min = 1, max = 128), custom(type_name))]
    #[schema(example = "order.paid", max_length = 128)]
    r#type: String,
    /// What receivers get, at most 256 KiB.
    #[garde(skip)]
    #[schema(value_type = Object, example = json!({"orderId": "A-1001"}))]
    data: Map<String, Value>,
    /// An id of yours: sending it again within 48 hours is the same event.
    #[garde(inner(length(min = 1, max = 64)))]
    #[schema(example = "order-A-1001-paid", max_length = 64)]
    id: Option<String>,
}

/// The event was taken.
#[derive(Serialize, ToSchema)]
#[schema(as = webhooks::EventAccepted)]
struct EventAccepted {
    /// Our id of it; the `webhook-id` of its requests.
    id: EventId,
}

/// Send an event of one's own to the webhooks that want it.
#[endpoint("webhooks.reserved_type", "webhooks.event_too_large", "webhooks.id_reused")]
async fn send_event(Json(event): Json<NewEvent>, mut tx: Tx) -> Result<Accepted<EventAccepted>> {
    check_word(&tx, &event.r#type)?;
    let data = Value::Object(event.data);
    let bytes = serde_json::to_vec(&data)?;
    if bytes.len() > BYTES_MAX {
        return Err(Error::new(
            Kind::Invalid,
            "webhooks.event_too_large",
            "The data of an event may hold 256 KiB.",
        ));
    }
    let fingerprint = sha256(&[event.r#type.as_bytes(), &bytes]);
    if let Some(key) = &event.id
        && let Some(known) = earlier(&mut tx, key, &fingerprint).await?
    {
        return Ok(Accepted(EventAccepted { id: known }));
    }
    let id = tx.emit_custom(event.r#type, data);
    if let Some(key) = event.id {
        remember(&mut tx, &key, id, &fingerprint).await?;
    }
    Ok(Accepted(EventAccepted { id }))
}

/// A rule for garde: lower-case words with dots between them.
fn type_name(name: &str, _: &()) -> garde::Result {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    };
    if name.split('.').all(word) && name.contains('.') {
        return Ok(());
    }
    Err(garde::Error::new("lower-case words with dots between them, as in order.paid"))
}

/// The first word of Freehold's own events is Freehold's.
fn check_word(tx: &Tx, name: &str) -> Result<()> {
    let word = name.split('.').next().unwrap_or_default();
    let own = tx.app().events().iter().any(|kind| kind.name.split('.').next() == Some(word));
    if !own {
        return Ok(());
    }
    Err(Error::invalid(
        "/type",
        "webhooks.reserved_type",
        format!("events that begin with {word} are Freehold's; take another first word"),
    ))
}

/// The event that this id stands for, if it came before with the same content.
async fn earlier(tx: &mut Tx, key: &str, fingerprint: &[u8; 32]) -> Result<Option<EventId>> {
    let (tenant, since) = (tx.tenant(), tx.real_now() - KEPT);
    let known = sqlx::query!(
        "select event_id, fingerprint from webhooks.event_keys
         where tenant_id = $1 and key = $2 and created_at > $3",
        *tenant,
        key,
        since as _,
    )
    .fetch_optional(tx.db())
    .await?;
    match known {
        None => Ok(None),
        Some(known) if known.fingerprint == fingerprint => {
            Ok(Some(EventId::from_uuid(known.event_id)))
        }
        Some(_) => Err(reused()),
    }
}

async fn remember(tx: &mut Tx, key: &str, id: EventId, fingerprint: &[u8; 32]) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.real_now());
    sqlx::query!(
        "insert into webhooks.event_keys (tenant_id, key, event_id, fingerprint, created_at)
         values ($1, $2, $3, $4, $5)",
        *tenant,
        key,
        *id,
        fingerprint,
        now as _,
    )
    .execute(tx.db())
    .await
    .on_constraint("event_keys_pkey", || {
        Error::conflict(
            "webhooks.id_reused",
            "Another request with this id came first; repeat yours.",
        )
    })?;
    Ok(())
}

fn reused() -> Error {
    Error::conflict("webhooks.id_reused", "This id came with another event before; use a new one.")
}

/// Forgets ids whose time is over. A schedule's tick.
pub(crate) async fn forget_keys(tx: &mut SystemTx) -> Result<()> {
    let before = tx.real_now() - KEPT;
    sqlx::query!(
        "-- tidy: across tenants because one statement cleans up after all
         delete from webhooks.event_keys where created_at < $1",
        before as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
