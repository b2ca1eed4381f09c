//! `GET /security-events`: what an administrator wants to know first when something is wrong.

use freehold_kernel::{
    Event, EventId, List, Page, Result, Routes, SealedPart, TenantId, Timestamp, Tx, endpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::lockout::{AuthFailed, AuthLocked};
use crate::refresh::AuthReplayed;

/// What is listed. Each is read newest first from the index by type, however rare it is among all
/// that happened.
const TYPES: [&str; 3] = [AuthFailed::TYPE, AuthLocked::TYPE, AuthReplayed::TYPE];

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/security-events")
        .get("/", "security-events:read", list_security_events)
        .recorded()
}

/// Something that may be an attack.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SecurityEvent)]
struct SecurityEvent {
    /// The record; the id of the event as well.
    id: EventId,
    /// When it happened.
    at: Timestamp,
    /// What happened: `auth.failed`, `auth.locked` or `auth.replayed`.
    #[schema(example = "auth.locked")]
    r#type: String,
    /// Whom it is about, or `unknown`.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    subject: String,
    /// The event's own fields.
    #[schema(value_type = Object, example = json!({"source": "strangers"}))]
    data: Value,
    /// What is personal: `email`, `ip`, `userAgent`; null once the person has been erased.
    #[schema(value_type = Option<Object>, example = json!({"ip": "203.0.113.7"}))]
    personal: Option<Map<String, Value>>,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = identity::SecurityEventFilter)]
struct SecurityEventFilter {
    /// Only what is called this.
    #[schema(example = "auth.locked")]
    r#type: Option<String>,
    /// Only what is about this person, or `unknown`.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    subject: Option<String>,
    /// Only what happened then or later.
    since: Option<Timestamp>,
    /// Only what happened before.
    until: Option<Timestamp>,
}

/// Somebody read the security events.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SecurityEventRead)]
#[event(type = "securityevent.read", subject = tenant_id)]
pub(crate) struct SecurityEventRead {
    /// The tenant whose events they are.
    tenant_id: TenantId,
}

struct Row {
    id: EventId,
    at: Timestamp,
    kind: String,
    actor: String,
    subject: String,
    data: Value,
    personal: Option<Vec<u8>>,
}

/// List failed sign-ins, lockouts and replayed tokens of the tenant's people, newest first.
///
/// The first page of a search is itself recorded, as `securityevent.read`.
#[endpoint]
async fn list_security_events(
    list: List<SecurityEventFilter>,
    mut tx: Tx,
) -> Result<Page<SecurityEvent>> {
    let after = list.after::<(Timestamp, Uuid)>()?;
    let (after_at, after_id) = after.unzip();
    let (tenant, filter) = (tx.tenant(), &list.filter);
    let wanted = |kind: &&str| filter.r#type.as_deref().is_none_or(|asked| asked == *kind);
    let types: Vec<String> = TYPES.into_iter().filter(wanted).map(ToOwned::to_owned).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select e.id as "id!: EventId", e.at as "at!", e.type as "kind!", e.actor as "actor!",
             e.subject as "subject!", e.data as "data!", e.personal
           from unnest($2::text[]) as wanted (type)
           cross join lateral (
             select id, at, type, actor, subject, data, personal from core.events
             where tenant_id = $1 and type = wanted.type and source = 'freehold'
               and ($3::timestamptz is null or (at, id) < ($3, $4))
               and ($5::text is null or subject = $5)
               and ($6::timestamptz is null or at >= $6)
               and ($7::timestamptz is null or at < $7)
             order by at desc, id desc limit $8
           ) as e
           order by e.at desc, e.id desc limit $8"#,
        *tenant,
        &types,
        after_at as _,
        after_id,
        filter.subject,
        filter.since as _,
        filter.until as _,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    let events = opened(&mut tx, rows).await?;
    if after_id.is_none() {
        tx.emit(SecurityEventRead { tenant_id: tenant }).await?;
    }
    list.page(events, |event: &SecurityEvent| (event.at, *event.id))
}

/// Opens what is personal in these rows, in one statement for all of them.
async fn opened(tx: &mut Tx, rows: Vec<Row>) -> Result<Vec<SecurityEvent>> {
    let parts = rows.iter().map(|row| SealedPart {
        event: row.id,
        subject: &row.subject,
        actor: &row.actor,
        sealed: row.personal.as_deref(),
    });
    let parts: Vec<SealedPart<'_>> = parts.collect();
    let personal = tx.open_personal(&parts).await?;
    Ok(rows.into_iter().zip(personal).map(|(row, personal)| row.with(personal)).collect())
}

impl Row {
    fn with(self, personal: Option<Map<String, Value>>) -> SecurityEvent {
        SecurityEvent {
            id: self.id,
            at: self.at,
            r#type: self.kind,
            subject: self.subject,
            data: self.data,
            personal,
        }
    }
}
