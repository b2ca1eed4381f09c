//! `GET /audit-logs`: who did what to which thing, when, from where.

use freehold_kernel::{
    Event, EventId, List, Page, Result, Routes, SealedPart, TenantId, Timestamp, Tx, endpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/audit-logs").get("/", "audit:read", list_audit_logs).recorded()
}

/// One thing that happened.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::AuditRecord)]
struct AuditRecord {
    /// The record; the id of the event as well.
    id: EventId,
    /// When it happened.
    at: Timestamp,
    /// What happened.
    #[schema(example = "tenant.updated")]
    action: String,
    /// Who did it: a person, a service account, or `system`.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    actor: String,
    /// On whose behalf, where that is somebody else.
    on_behalf_of: Option<String>,
    /// What it happened to.
    #[schema(example = "ten_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    subject: String,
    /// The request that caused it.
    #[schema(example = "req_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    request_id: Option<String>,
    /// The event's own fields.
    #[schema(value_type = Object, example = json!({"slug": "acme"}))]
    data: Value,
    /// What is personal: `ip`, `userAgent`, `credential`, fields `before` and `after`; null once
    /// the person has been erased.
    #[schema(value_type = Option<Object>, example = json!({"ip": "203.0.113.7"}))]
    personal: Option<Map<String, Value>>,
}

/// What to look for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = tenants::AuditFilter)]
struct AuditFilter {
    /// Only what this person or service account did.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    actor: Option<String>,
    /// Only what is called this.
    #[schema(example = "tenant.updated")]
    action: Option<String>,
    /// Only what happened to this.
    #[schema(example = "ten_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    subject: Option<String>,
    /// Only what happened then or later.
    since: Option<Timestamp>,
    /// Only what happened before.
    until: Option<Timestamp>,
}

/// Somebody read the audit log.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::AuditRead)]
#[event(type = "audit.read", subject = tenant_id)]
pub(crate) struct AuditRead {
    /// The tenant whose log it is.
    tenant_id: TenantId,
    /// What was looked for.
    #[schema(value_type = Object, example = json!({"action": "tenant.updated"}))]
    filter: Value,
}

struct Row {
    id: EventId,
    at: Timestamp,
    action: String,
    actor: String,
    on_behalf_of: Option<String>,
    subject: String,
    request_id: Option<String>,
    data: Value,
    personal: Option<Vec<u8>>,
}

/// List what happened in the tenant, newest first.
///
/// The first page of a search is itself recorded, as `audit.read`.
#[endpoint]
async fn list_audit_logs(list: List<AuditFilter>, mut tx: Tx) -> Result<Page<AuditRecord>> {
    let after = list.after::<(Timestamp, Uuid)>()?;
    let (after_at, after_id) = after.unzip();
    let (tenant, filter) = (tx.tenant(), &list.filter);
    let rows = sqlx::query_as!(
        Row,
        r#"select id, at, type as action, actor, on_behalf_of, subject, request_id, data, personal
           from core.events
           where tenant_id = $1 and source = 'freehold'
             and ($2::timestamptz is null or (at, id) < ($2, $3))
             and ($4::text is null or actor = $4)
             and ($5::text is null or type = $5)
             and ($6::text is null or subject = $6)
             and ($7::timestamptz is null or at >= $7)
             and ($8::timestamptz is null or at < $8)
           order by at desc, id desc limit $9"#,
        *tenant,
        after_at as _,
        after_id,
        filter.actor,
        filter.action,
        filter.subject,
        filter.since as _,
        filter.until as _,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    let records = opened(&mut tx, rows).await?;
    if after_id.is_none() {
        let filter = serde_json::json!({
            "actor": filter.actor, "action": filter.action, "subject": filter.subject,
            "since": filter.since, "until": filter.until,
        });
        tx.emit(AuditRead { tenant_id: tenant, filter }).await?;
    }
    list.page(records, |record| (record.at, *record.id))
}

/// Opens what is personal in these rows, in one statement for all of them.
async fn opened(tx: &mut Tx, rows: Vec<Row>) -> Result<Vec<AuditRecord>> {
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
    fn with(self, personal: Option<Map<String, Value>>) -> AuditRecord {
        AuditRecord {
            id: self.id,
            at: self.at,
            action: self.action,
            actor: self.actor,
            on_behalf_of: self.on_behalf_of,
            subject: self.subject,
            request_id: self.request_id,
            data: self.data,
            personal,
        }
    }
}
