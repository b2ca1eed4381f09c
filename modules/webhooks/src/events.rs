//! Events of the customer's own product, for the customer's own receivers: taken, and listed.

use std::collections::HashMap;
use std::time::Duration;

use freehold_kernel::crypto::sha256;
use freehold_kernel::{
    Accepted, App, CustomEvent, Cx, Error, EventId, Kind, List, OneOrMany, Page, Result, Routes,
    State, Timestamp, Tx, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::catalogue::{Candidate, Catalogue};
use crate::deliveries::PAGE_BYTES_MAX;
use crate::event_keys::{Key, reused};
use crate::intake::{Brought, Intake, alone};

const BYTES_MAX: usize = 256 * 1024;
/// Values in the data of one event, lists and objects among them.
const VALUES_MAX: usize = 10_000;
/// Of the largest and the smallest number there is.
const DIGITS_MAX: usize = 340;
/// How far the caller's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(5 * 60);
const AT_ONCE: usize = 1_000;
/// Before the id of the caller's customer, where that is what an event is about.
const CUSTOMER: &str = "customer:";

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/events").get("/", "events:read", list_events).post(
        "/",
        "events:write",
        send_events,
    )
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
    /// Your id of the customer of yours that it is about: webhooks of this customer get it, and your
    /// own.
    #[garde(inner(length(chars, min = 1, max = 64), custom(no_control)))]
    #[schema(
        example = "acme-42",
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        min_length = 1,
        max_length = 64
    )]
    customer: Option<String>,
}

/// An event that was sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::SentEvent)]
struct SentEvent {
    /// Our id of it; the `webhook-id` of its requests.
    id: EventId,
    /// What happened.
    #[schema(example = "order.paid")]
    r#type: String,
    /// What receivers get.
    #[schema(value_type = Object, example = json!({"orderId": "A-1001"}))]
    data: Value,
    /// The customer of yours that it is about.
    #[schema(example = "acme-42")]
    customer: Option<String>,
    /// When it happened.
    occurred_at: Timestamp,
    /// When it was sent to us.
    created_at: Timestamp,
    /// Who sent it.
    #[schema(example = "svc_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    created_by: String,
    /// Whether there is room for it on the page.
    #[serde(skip)]
    fits: bool,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = webhooks::SentEventFilter)]
struct SentEventFilter {
    /// Only events of this type.
    #[schema(example = "order.paid")]
    r#type: Option<String>,
    /// Only those about this customer of yours.
    #[schema(example = "acme-42")]
    customer: Option<String>,
    /// Only what was sent then or later.
    since: Option<Timestamp>,
    /// Only what was sent before.
    until: Option<Timestamp>,
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

/// List the events of one's own that were sent, newest first.
#[endpoint]
async fn list_events(list: List<SentEventFilter>, mut tx: Tx) -> Result<Page<SentEvent>> {
    let (after_at, after_id) = list.after::<(Timestamp, Uuid)>()?.unzip();
    let (tenant, filter) = (tx.tenant(), &list.filter);
    let rows = sqlx::query!(
        r#"select id as "id!: EventId", at as "at!: Timestamp", kind as "kind!", data as "data!",
             subject as "subject!", actor as "actor!", occurred_at as "occurred_at!: Timestamp",
             coalesce(sum(octet_length(data::text)) over before, 0) < $9 as "fits!"
           from (
             select id, at, type as kind, data, subject, actor, coalesce(occurred_at, at) as occurred_at
             from core.events
             where tenant_id = $1 and source = 'custom'
               and (at, id) < (coalesce($2::timestamptz, 'infinity'), $3)
               and ($4::text is null or type = $4) and ($5::text is null or subject = $5)
               and at >= coalesce($6::timestamptz, '-infinity')
               and at < coalesce($7::timestamptz, 'infinity')
             order by at desc, id desc limit $8) as e
           window before as (order by at desc, id desc rows between unbounded preceding and 1 preceding)
           order by at desc, id desc"#,
        *tenant,
        after_at as _,
        after_id.unwrap_or(Uuid::max()),
        filter.r#type,
        filter.customer.as_deref().map(subject_of),
        filter.since as _,
        filter.until as _,
        list.fetch_limit(),
        PAGE_BYTES_MAX,
    )
    .fetch_all(tx.db())
    .await?;
    let events = rows.into_iter().map(|row| SentEvent {
        id: row.id,
        r#type: row.kind,
        data: row.data,
        customer: customer_of("custom", &row.subject).map(ToOwned::to_owned),
        occurred_at: row.occurred_at,
        created_at: row.at,
        created_by: row.actor,
        fits: row.fits,
    });
    list.page_while(events.collect(), |event| event.fits, |event| (event.created_at, *event.id))
}

/// What an event about this customer of the tenant's is about, as it is kept.
pub(crate) fn subject_of(customer: &str) -> String {
    format!("{CUSTOMER}{customer}")
}

/// The tenant's customer, where an event of its own is about one. Our own events never are, whatever
/// their subject is called.
pub(crate) fn customer_of<'a>(source: &str, subject: &'a str) -> Option<&'a str> {
    subject.strip_prefix(CUSTOMER).filter(|_| source == "custom")
}

/// Send an event of one's own, or a list of up to 1,000, to the webhooks that want it. A list is
/// taken whole or not at all.
#[endpoint(
    "webhooks.reserved_type",
    "webhooks.event_too_large",
    "webhooks.future",
    "webhooks.id_reused",
    "webhooks.schema_mismatch",
    "webhooks.schema_too_costly"
)]
async fn send_events(
    mut body: OneOrMany<NewEvent, AT_ONCE>,
    cx: Cx,
    State(catalogue): State<Catalogue>,
    State(intake): State<Intake>,
    mut tx: Option<Tx>,
) -> Result<Accepted<Taken>> {
    check_schemas(&catalogue, &cx, tx.as_mut(), &mut body).await?;
    let (events, is_list) = match body {
        OneOrMany::One(event) => (vec![event], false),
        OneOrMany::Many(events) => (events, true),
    };
    let brought = gather(&cx, events, is_list)?;
    let mut ids = match tx {
        Some(tx) => alone(tx, brought).await?,
        None => intake.take(cx.app(), brought).await?,
    };
    if is_list {
        let data = ids.into_iter().map(|id| EventAccepted { id }).collect();
        return Ok(Accepted(Taken::Many(EventsAccepted { data })));
    }
    let id = ids.pop().ok_or_else(|| Error::internal("an event without an id"))?;
    Ok(Accepted(Taken::One(EventAccepted { id })))
}

/// Refuses events that are not as the schema of their type says.
async fn check_schemas(
    catalogue: &Catalogue,
    cx: &Cx,
    tx: Option<&mut Tx>,
    body: &mut OneOrMany<NewEvent, AT_ONCE>,
) -> Result<()> {
    let events = match body {
        OneOrMany::One(event) => vec![(String::new(), event)],
        OneOrMany::Many(events) => {
            events.iter_mut().enumerate().map(|(at, event)| (format!("/{at}"), event)).collect()
        }
    };
    let candidates = events.into_iter().map(|(place, event)| Candidate {
        place,
        kind: &event.r#type,
        data: &mut event.data,
    });
    catalogue.check(cx, tx, candidates).await
}

/// Checks what the request brings, each event with its place in the body.
fn gather(cx: &Cx, events: Vec<NewEvent>, is_list: bool) -> Result<Brought> {
    let actor = cx.signed_in()?;
    let tenant = actor.tenant.ok_or_else(|| Error::internal("an event of no tenant"))?;
    let (sender, now) = (actor.principal.to_string(), cx.real_now());
    let mut brought =
        Brought { tenant, events: Vec::new(), keys: Vec::new(), ids: Vec::new(), bytes: 0 };
    let mut known: HashMap<String, ([u8; 32], EventId)> = HashMap::new();
    for (at, new) in events.into_iter().enumerate() {
        let place = if is_list { format!("/{at}") } else { String::new() };
        let (bytes, fingerprint) = check(cx.app(), &place, &new, now)?;
        let id = EventId::new();
        brought.bytes += bytes;
        if let Some(text) = new.id {
            let (print, first) = *known.entry(text.clone()).or_insert((fingerprint, id));
            if print != fingerprint {
                return Err(reused(&place));
            }
            brought.ids.push(first);
            // An id that comes twice in a list stands for its first event.
            if first != id {
                continue;
            }
            brought.keys.push(Key { tenant, text, event: id, fingerprint });
        } else {
            brought.ids.push(id);
        }
        brought.events.push(CustomEvent {
            id,
            at: now,
            kind: new.r#type,
            actor: sender.clone(),
            subject: match new.customer {
                Some(customer) => subject_of(&customer),
                None => id.to_string(),
            },
            request_id: cx.request_id().to_owned(),
            data: Value::Object(new.data),
            occurred_at: new.occurred_at,
        });
    }
    Ok(brought)
}

/// The size of its data, and a fingerprint of all that it says.
fn check(app: &App, place: &str, event: &NewEvent, now: Timestamp) -> Result<(usize, [u8; 32])> {
    check_word(app, &format!("{place}/type"), &event.r#type)?;
    if event.occurred_at.is_some_and(|at| at > now + AHEAD) {
        let words = "at most five minutes ahead of our clock";
        return Err(Error::invalid(format!("{place}/occurredAt"), "webhooks.future", words));
    }
    let bytes = serde_json::to_vec(&event.data)?;
    let (mut values, mut digits) = (0, 0);
    event.data.values().for_each(|value| measure(value, &mut values, &mut digits));
    if bytes.len() + digits > BYTES_MAX || values > VALUES_MAX {
        let words = format!(
            "The data of an event may hold 256 KiB, numbers written out, and {VALUES_MAX} values."
        );
        return Err(Error::new(Kind::Invalid, "webhooks.event_too_large", words));
    }
    let at = event.occurred_at.map(Timestamp::unix_ms).unwrap_or_default().to_be_bytes();
    let mut parts = vec![event.r#type.as_bytes(), at.as_slice(), &bytes];
    // Left out where there is none: what was sent before events had one is the same event still.
    parts.extend(event.customer.as_deref().map(str::as_bytes));
    Ok((bytes.len(), sha256(&parts)))
}

/// How many values there are, and how many digits beyond those that came: PostgreSQL writes `1e300`
/// out, and each value takes far more memory than `0,` takes bytes.
fn measure(value: &Value, values: &mut usize, digits: &mut usize) {
    *values += 1;
    match value {
        Value::Array(list) => list.iter().for_each(|one| measure(one, values, digits)),
        Value::Object(fields) => fields.values().for_each(|one| measure(one, values, digits)),
        Value::Number(number) if number.is_f64() => {
            let size = number.as_f64().unwrap_or_default().abs();
            if size != 0.0 && !(1e-5..1e16).contains(&size) {
                *digits += DIGITS_MAX;
            }
        }
        _ => {}
    }
}

/// A rule for garde: lower-case words with dots between them.
pub(crate) fn type_name(name: &str, _: &()) -> garde::Result {
    if name.split('.').all(is_word) && name.contains('.') {
        return Ok(());
    }
    Err(garde::Error::new("lower-case words with dots between them, as in order.paid"))
}

/// Whether this may stand between the dots of a type's name.
pub(crate) fn is_word(word: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    !word.is_empty() && word.bytes().all(fits)
}

/// A rule for garde: what can be shown in a log.
fn no_control(text: &str, _: &()) -> garde::Result {
    if text.chars().any(char::is_control) {
        return Err(garde::Error::new("no line breaks or other control characters"));
    }
    Ok(())
}

/// The first word of Freehold's own events is Freehold's.
pub(crate) fn check_word(app: &App, pointer: &str, name: &str) -> Result<()> {
    let word = name.split('.').next().unwrap_or_default();
    if app.resources().iter().all(|resource| resource.singular != word) {
        return Ok(());
    }
    Err(Error::invalid(
        pointer,
        "webhooks.reserved_type",
        format!("events that begin with {word} are Freehold's; take another first word"),
    ))
}
