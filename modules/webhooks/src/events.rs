//! `POST /events`: events of the customer's own product, for the customer's own receivers.

use std::collections::HashMap;
use std::time::Duration;

use freehold_kernel::crypto::sha256;
use freehold_kernel::{
    Accepted, CustomEvent, Error, EventId, Kind, OneOrMany, Result, Routes, SystemTx, Timestamp,
    Tx, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// How long an `id` of the caller's stands for the same event.
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);
const BYTES_MAX: usize = 256 * 1024;
/// How far the caller's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(5 * 60);
const AT_ONCE: usize = 1_000;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/events").post("/", "events:write", send_events)
}

/// An event of the customer's own.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewEvent)]
struct NewEvent {
    /// What happened, in words of your own, as in `order.paid`. Freehold's own words are refused.
    #[garde(length(min = 1, max = 128), custom(type_name))]
    #[schema(example = "order.paid", pattern = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$", max_length = 128)]
    r#type: String,
    /// What receivers get, at most 256 KiB.
    #[garde(skip)]
    #[schema(value_type = Object, example = json!({"orderId": "A-1001"}))]
    data: Map<String, Value>,
    /// An id of yours: sending it again within 48 hours is the same event.
    #[garde(inner(length(chars, min = 1, max = 64), custom(no_control)))]
    #[schema(
        example = "order-A-1001-paid",
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        min_length = 1,
        max_length = 64
    )]
    id: Option<String>,
    /// When it happened, if not just now; receivers get it as `timestamp`. At most five minutes
    /// ahead.
    #[garde(skip)]
    occurred_at: Option<Timestamp>,
}

/// The event was taken.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = webhooks::EventAccepted)]
struct EventAccepted {
    /// Our id of it; the `webhook-id` of its requests.
    id: EventId,
}

/// The events were taken, in their order.
#[derive(Serialize, ToSchema)]
#[schema(as = webhooks::EventsAccepted)]
struct EventsAccepted {
    /// One for each.
    data: Vec<EventAccepted>,
}

/// One event or many were taken.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = webhooks::Taken)]
enum Taken {
    /// For an object.
    One(EventAccepted),
    /// For a list.
    Many(EventsAccepted),
}

/// Send an event of one's own, or a list of up to 1,000, to the webhooks that want it. A list is
/// taken whole or not at all.
#[endpoint("webhooks.reserved_type", "webhooks.event_too_large", "webhooks.id_reused")]
async fn send_events(body: OneOrMany<NewEvent, AT_ONCE>, mut tx: Tx) -> Result<Accepted<Taken>> {
    match body {
        OneOrMany::One(event) => {
            let mut ids = take(&mut tx, vec![(String::new(), event)]).await?;
            let id = ids.pop().ok_or_else(|| Error::internal("an event without an id"))?;
            Ok(Accepted(Taken::One(EventAccepted { id })))
        }
        OneOrMany::Many(events) => {
            let placed =
                events.into_iter().enumerate().map(|(at, event)| (format!("/{at}"), event));
            let ids = take(&mut tx, placed.collect()).await?;
            let data = ids.into_iter().map(|id| EventAccepted { id }).collect();
            Ok(Accepted(Taken::Many(EventsAccepted { data })))
        }
    }
}

/// Emits those that are new; answers the ids of all, in their order. Each comes with its place in
/// the body.
async fn take(tx: &mut Tx, events: Vec<(String, NewEvent)>) -> Result<Vec<EventId>> {
    let mut keys = Keys::default();
    let mut taken = Vec::with_capacity(events.len());
    for (place, event) in events {
        let (key, fingerprint, event) = check(tx, &place, event)?;
        let id = match key {
            Some(key) => keys.add(&place, key, fingerprint, event.id)?,
            None => event.id,
        };
        taken.push((id, event));
    }
    let earlier = keys.hold(tx).await?;
    let mut ids = Vec::with_capacity(taken.len());
    for (id, event) in taken {
        // An id that came twice in this list stands for its first event.
        if id == event.id && !earlier.contains_key(&id) {
            tx.emit_custom(event);
        }
        ids.push(earlier.get(&id).copied().unwrap_or(id));
    }
    Ok(ids)
}

/// The caller's id, what it stands for, and the event.
fn check(tx: &Tx, place: &str, event: NewEvent) -> Result<(Option<String>, [u8; 32], CustomEvent)> {
    check_word(tx, place, &event.r#type)?;
    if event.occurred_at.is_some_and(|at| at > tx.real_now() + AHEAD) {
        let words = "at most five minutes ahead of our clock";
        return Err(Error::invalid(format!("{place}/occurredAt"), "webhooks.future", words));
    }
    let data = Value::Object(event.data);
    let bytes = serde_json::to_vec(&data)?;
    if bytes.len() > BYTES_MAX {
        return Err(Error::new(
            Kind::Invalid,
            "webhooks.event_too_large",
            "The data of an event may hold 256 KiB.",
        ));
    }
    let at = event.occurred_at.map(Timestamp::unix_ms).unwrap_or_default().to_be_bytes();
    let fingerprint = sha256(&[event.r#type.as_bytes(), &at, &bytes]);
    let custom = CustomEvent {
        id: EventId::new(),
        kind: event.r#type,
        data,
        occurred_at: event.occurred_at,
    };
    Ok((event.id, fingerprint, custom))
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

/// A rule for garde: what can be shown in a log.
fn no_control(text: &str, _: &()) -> garde::Result {
    if text.chars().any(char::is_control) {
        return Err(garde::Error::new("no line breaks or other control characters"));
    }
    Ok(())
}

/// The first word of Freehold's own events is Freehold's.
fn check_word(tx: &Tx, place: &str, name: &str) -> Result<()> {
    let word = name.split('.').next().unwrap_or_default();
    if tx.app().resources().iter().all(|resource| resource.singular != word) {
        return Ok(());
    }
    Err(Error::invalid(
        format!("{place}/type"),
        "webhooks.reserved_type",
        format!("events that begin with {word} are Freehold's; take another first word"),
    ))
}

/// The callers' ids in one request.
#[derive(Default)]
struct Keys(HashMap<String, ([u8; 32], EventId)>);

impl Keys {
    /// Adds an id; answers the event that it stands for within this request.
    fn add(
        &mut self,
        place: &str,
        key: String,
        fingerprint: [u8; 32],
        id: EventId,
    ) -> Result<EventId> {
        let (known, first) = self.0.entry(key).or_insert((fingerprint, id));
        if *known == fingerprint { Ok(*first) } else { Err(reused(place)) }
    }

    /// Takes the ids for this request; answers, for those that came before with the same content,
    /// the events that they stand for. Waits for another request that has one of them in hand.
    async fn hold(self, tx: &mut Tx) -> Result<HashMap<EventId, EventId>> {
        if self.0.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sorted: Vec<_> = self.0.iter().collect();
        // In one order, so that two lists with the same ids never wait for each other.
        sorted.sort_unstable_by_key(|(key, _)| *key);
        let keys: Vec<String> = sorted.iter().map(|(key, _)| (*key).clone()).collect();
        let ids: Vec<Uuid> = sorted.iter().map(|(_, (_, id))| **id).collect();
        let prints: Vec<Vec<u8>> = sorted.iter().map(|(_, (print, _))| print.to_vec()).collect();
        let (tenant, now) = (tx.tenant(), tx.real_now());
        let fresh = sqlx::query_scalar!(
            "insert into webhooks.event_keys as k (tenant_id, key, event_id, fingerprint, created_at)
             select $1, key, event_id, fingerprint, $5
             from unnest($2::text[], $3::uuid[], $4::bytea[]) as n (key, event_id, fingerprint)
             on conflict (tenant_id, key) do update
             set event_id = excluded.event_id, fingerprint = excluded.fingerprint,
               created_at = excluded.created_at
             where k.created_at <= $6
             returning key",
            *tenant,
            &keys,
            &ids,
            &prints,
            now as _,
            (now - KEPT) as _,
        )
        .fetch_all(tx.db())
        .await?;
        if fresh.len() == keys.len() {
            return Ok(HashMap::new());
        }
        self.earlier(tx, &fresh).await
    }

    async fn earlier(&self, tx: &mut Tx, fresh: &[String]) -> Result<HashMap<EventId, EventId>> {
        let known: Vec<String> =
            self.0.keys().filter(|key| !fresh.contains(key)).cloned().collect();
        let tenant = tx.tenant();
        let rows = sqlx::query!(
            "select key, event_id, fingerprint from webhooks.event_keys
             where tenant_id = $1 and key = any($2)",
            *tenant,
            &known,
        )
        .fetch_all(tx.db())
        .await?;
        let mut earlier = HashMap::with_capacity(rows.len());
        for row in rows {
            let Some((fingerprint, id)) = self.0.get(&row.key) else { continue };
            if row.fingerprint != fingerprint {
                return Err(reused(""));
            }
            earlier.insert(*id, EventId::from_uuid(row.event_id));
        }
        Ok(earlier)
    }
}

fn reused(place: &str) -> Error {
    let which = if place.is_empty() { String::new() } else { format!(" ({place}/id)") };
    Error::conflict(
        "webhooks.id_reused",
        format!("An id came with another event before{which}; use a new one."),
    )
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
