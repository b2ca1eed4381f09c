//! Events: what happened, for the audit log and for everything downstream.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::database::Db;
use crate::directory::TenantId;
use crate::error::Result;
use crate::subject_keys::{NewKey, person, place, subject_key};
use crate::time::Timestamp;
use crate::tx::Work;
use crate::{Id, Named};

/// Something that happened. Derive it: `#[derive(Event)] #[event(type = "user.created", subject =
/// user_id)]`; fields marked `#[personal]` are sealed and reach no webhook.
pub trait Event: Serialize + ToSchema + Send + Sync + 'static {
    /// `<resource>.<past tense>`.
    const TYPE: &'static str;
    /// What happened, in words: the doc comment.
    const DESCRIPTION: &'static str;
    /// Names of the personal fields, as on the wire.
    const PERSONAL: &'static [&'static str];

    /// The id of the thing it happened to.
    fn subject(&self) -> String;
}

/// Names an event.
pub enum EventRecord {}

impl Named for EventRecord {
    const PREFIX: &'static str = "evt";
}

/// The id of an event.
pub type EventId = Id<EventRecord>;

/// What an event that was recorded is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: EventId,
    /// When it was recorded.
    pub at: Timestamp,
}

/// An event of a customer's own.
#[derive(Clone, Debug)]
pub struct CustomEvent {
    /// A new id.
    pub id: EventId,
    /// When it came.
    pub at: Timestamp,
    /// What happened, in the customer's words.
    pub kind: String,
    /// Whoever sent it.
    pub actor: String,
    /// What it is about.
    pub subject: String,
    /// The request that brought it.
    pub request_id: String,
    /// What receivers get.
    pub data: Value,
    /// When it happened, if that was not just now.
    pub occurred_at: Option<Timestamp>,
}

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Ours.
    Freehold,
    /// The customer's own.
    Custom,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Freehold => "freehold",
            Self::Custom => "custom",
        }
    }
}

/// A row of `core.events` before its digest, which the database computes from the row as stored.
pub(crate) struct EventRow {
    tenant: TenantId,
    id: EventId,
    at: Timestamp,
    occurred_at: Option<Timestamp>,
    source: Source,
    kind: Cow<'static, str>,
    actor: String,
    subject: String,
    request_id: String,
    data: Value,
    personal: Option<Vec<u8>>,
    /// The subscriber that has had it already.
    handled_by: Option<&'static str>,
}

/// Fields before and after a change.
#[derive(Default)]
pub(crate) struct Details(Option<(Value, Value)>);

impl Details {
    /// Keeps the fields that differ.
    pub(crate) fn between<R: Serialize>(before: &R, after: &R) -> Result<Self> {
        let (mut before, mut after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
        if let (Some(old), Some(new)) = (before.as_object_mut(), after.as_object_mut()) {
            let same: Vec<String> = old
                .iter()
                .filter(|(name, value)| new.get(*name) == Some(value))
                .map(|(name, _)| name.clone())
                .collect();
            for name in same {
                old.remove(&name);
                new.remove(&name);
            }
        }
        Ok(Self(Some((before, after))))
    }
}

/// Adds an event to the transaction's buffer.
pub(crate) async fn buffer<E: Event>(
    work: &mut Work,
    tenant: TenantId,
    event: &E,
    details: Details,
) -> Result<Recorded> {
    let origin = work.origin().clone();
    let mut data = serde_json::to_value(event)?;
    let mut personal = take_personal(&mut data, E::PERSONAL);
    if let Some(ip) = origin.ip {
        personal.insert("ip".into(), json!(ip));
    }
    if let Some(user_agent) = &origin.user_agent {
        personal.insert("userAgent".into(), json!(user_agent));
    }
    if let Some((before, after)) = details.0 {
        personal.insert("before".into(), before);
        personal.insert("after".into(), after);
    }
    let actor = origin.actor.get();
    if let Some(actor) = actor {
        personal.insert("credential".into(), json!(actor.credential));
    }
    let subject = event.subject();
    let actor = actor.map_or_else(|| "system".to_owned(), |actor| actor.principal.to_string());
    let (id, at) = (EventId::new(), origin.app.config().clock.now());
    let person = person(&subject, &actor, tenant);
    let (sealed, new_key) = seal(work, tenant, id, person, &personal).await?;
    let row = EventRow {
        tenant,
        id,
        at,
        occurred_at: None,
        source: Source::Freehold,
        kind: Cow::Borrowed(E::TYPE),
        actor,
        subject,
        request_id: origin.request_id.clone(),
        data,
        personal: sealed,
        handled_by: None,
    };
    work.push(row, new_key);
    Ok(Recorded { id, at })
}

/// Adds an event of the customer's own.
pub(crate) fn buffer_custom(
    work: &mut Work,
    tenant: TenantId,
    event: CustomEvent,
    handled_by: Option<&'static str>,
) {
    let row = EventRow {
        tenant,
        id: event.id,
        at: event.at,
        occurred_at: event.occurred_at,
        source: Source::Custom,
        kind: Cow::Owned(event.kind),
        actor: event.actor,
        subject: event.subject,
        request_id: event.request_id,
        data: event.data,
        personal: None,
        handled_by,
    };
    work.push(row, None);
}

fn take_personal(data: &mut Value, names: &[&str]) -> Map<String, Value> {
    let Some(fields) = data.as_object_mut() else { return Map::new() };
    names
        .iter()
        .filter_map(|name| fields.remove(*name).map(|value| ((*name).to_owned(), value)))
        .collect()
}

async fn seal(
    work: &mut Work,
    tenant: TenantId,
    id: EventId,
    person: String,
    personal: &Map<String, Value>,
) -> Result<(Option<Vec<u8>>, Option<NewKey>)> {
    if personal.is_empty() {
        return Ok((None, None));
    }
    let plain = serde_json::to_vec(personal)?;
    let (key, new_key) = subject_key(work, tenant, person).await?;
    Ok((Some(key.seal(&place(tenant, id), &plain)?), new_key))
}

impl EventRow {
    pub(crate) fn id(&self) -> uuid::Uuid {
        *self.id
    }
}

/// Writes buffered events, their digests computed from the row as stored, and in the same statement
/// a row of the outbox for each subscriber that wants them. Answers who is to be woken.
pub(crate) async fn write(db: &mut Db, rows: &[EventRow], app: &App) -> Result<Vec<&'static str>> {
    let mut outbox = Outbox::default();
    rows.iter().for_each(|row| outbox.push(row, app));
    match rows {
        [] => return Ok(Vec::new()),
        [row] => write_one(db, row, &outbox).await?,
        rows => write_many(db, rows, &outbox).await?,
    }
    outbox.subscribers.sort_unstable();
    outbox.subscribers.dedup();
    Ok(outbox.subscribers)
}

/// Most requests record one event; ten arrays of one element cost PostgreSQL as much again as the
/// row itself.
async fn write_one(db: &mut Db, row: &EventRow, outbox: &Outbox) -> Result<()> {
    sqlx::query!(
        "with recorded as (
           insert into core.events
             (tenant_id, id, at, source, type, actor, subject, request_id, data, personal,
              occurred_at, digest)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12,
             core.event_digest($1, $2, $3, $12, $4, $5, $6, null, $7, $8, $9, $10))
         )
         insert into core.outbox (subscriber, event_id, tenant_id, event_at)
         select subscriber, $2, $1, $3 from unnest($11::text[]) as s (subscriber)",
        *row.tenant,
        *row.id,
        row.at as _,
        row.source.as_str(),
        &*row.kind,
        row.actor,
        row.subject,
        row.request_id,
        row.data,
        row.personal.as_deref(),
        &outbox.subscribers as _,
        row.occurred_at as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn write_many(db: &mut Db, rows: &[EventRow], outbox: &Outbox) -> Result<()> {
    let mut columns = Columns::default();
    rows.iter().for_each(|row| columns.push(row));
    sqlx::query!(
        "with recorded as (
           insert into core.events
             (tenant_id, id, at, source, type, actor, subject, request_id, data, personal,
              occurred_at, digest)
           select tenant_id, id, at, source, type, actor, subject, request_id, data, personal,
             occurred_at, core.event_digest(tenant_id, id, at, occurred_at, source, type, actor,
               null, subject, request_id, data, personal)
           from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
               $7::text[], $8::jsonb[], $9::bytea[], $10::text[], $15::timestamptz[])
             as e (tenant_id, id, at, type, actor, subject, request_id, data, personal, source,
               occurred_at)
         )
         insert into core.outbox (subscriber, event_id, tenant_id, event_at)
         select * from unnest($11::text[], $12::uuid[], $13::uuid[], $14::timestamptz[])",
        &columns.tenants,
        &columns.ids,
        columns.ats as _,
        &columns.kinds,
        &columns.actors,
        &columns.subjects,
        &columns.request_ids,
        &columns.data,
        columns.personal as _,
        &columns.sources as _,
        &outbox.subscribers as _,
        &outbox.events,
        &outbox.tenants,
        &outbox.ats as _,
        columns.occurred_ats as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Rows turned into the arrays that one statement takes.
#[derive(Default)]
struct Columns {
    tenants: Vec<uuid::Uuid>,
    ids: Vec<uuid::Uuid>,
    ats: Vec<Timestamp>,
    occurred_ats: Vec<Option<Timestamp>>,
    kinds: Vec<String>,
    sources: Vec<&'static str>,
    actors: Vec<String>,
    subjects: Vec<String>,
    request_ids: Vec<String>,
    data: Vec<Value>,
    personal: Vec<Option<Vec<u8>>>,
}

impl Columns {
    fn push(&mut self, row: &EventRow) {
        self.tenants.push(*row.tenant);
        self.ids.push(*row.id);
        self.ats.push(row.at);
        self.occurred_ats.push(row.occurred_at);
        self.kinds.push(row.kind.to_string());
        self.sources.push(row.source.as_str());
        self.actors.push(row.actor.clone());
        self.subjects.push(row.subject.clone());
        self.request_ids.push(row.request_id.clone());
        self.data.push(row.data.clone());
        self.personal.push(row.personal.clone());
    }
}

/// Who is to get which event.
#[derive(Default)]
struct Outbox {
    subscribers: Vec<&'static str>,
    events: Vec<uuid::Uuid>,
    tenants: Vec<uuid::Uuid>,
    ats: Vec<Timestamp>,
}

impl Outbox {
    fn push(&mut self, row: &EventRow, app: &App) {
        let wanted = app
            .subscribers()
            .iter()
            .filter(|s| s.interest.includes(row.source.as_str(), &row.kind))
            .filter(|s| row.handled_by != Some(s.name));
        for subscriber in wanted {
            self.subscribers.push(subscriber.name);
            self.events.push(*row.id);
            self.tenants.push(*row.tenant);
            self.ats.push(row.at);
        }
    }
}
