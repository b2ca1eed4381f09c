//! Webhook endpoints: where a tenant wants its events.

use freehold_egress::Egress;
use freehold_kernel::{
    Created, Error, Event, Id, IfMatch, Json, List, Named, NoContent, NoFilter, Page, Patch, Path,
    Result, Routes, State, Timestamp, Tx, WithEtag, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::deliver::Deliver;
use crate::deliveries::DeliveryId;
use crate::signature::Secret;

/// Endpoints of one tenant.
const ENDPOINTS_MAX: i64 = 100;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/webhooks")
        .get("/", "webhooks:read", list_webhooks)
        .post("/", "webhooks:write", create_webhook)
        .get("/{id}", "webhooks:read", get_webhook)
        .patch("/{id}", "webhooks:write", update_webhook)
        .delete("/{id}", "webhooks:delete", delete_webhook)
        .post("/{id}/enable", "webhooks:write", enable_webhook)
        .post("/{id}/test", "webhooks:write", test_webhook)
}

/// The id of an endpoint.
pub(crate) type EndpointId = Id<Endpoint>;

/// A receiver of events.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::Webhook)]
pub(crate) struct Endpoint {
    /// The endpoint.
    id: EndpointId,
    /// Where events are sent.
    #[schema(example = "https://example.org/hooks/freehold")]
    url: String,
    /// Which events: names, `resource.*`, or `*`.
    #[schema(example = json!(["user.*", "tenant.updated"]))]
    events: Vec<String>,
    /// What it is for.
    #[schema(example = "CRM sync")]
    description: String,
    /// Whether events are sent at all.
    #[schema(example = true)]
    is_active: bool,
    /// Who made it.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    created_by: String,
    /// When it was made.
    created_at: Timestamp,
    /// Goes up with every change; the `ETag`.
    #[schema(example = 1)]
    version: i64,
}

impl Named for Endpoint {
    const PREFIX: &'static str = "whk";
}

/// An endpoint with its signing secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = webhooks::WebhookWithSecret)]
struct EndpointWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    #[schema(inline)]
    endpoint: Endpoint,
    /// What its requests are signed with (Standard Webhooks). Shown this once.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// An endpoint to make.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewWebhook)]
struct NewEndpoint {
    /// Where to send events: https; plain http only where the installation allows it.
    #[garde(length(max = 2048))]
    #[schema(example = "https://example.org/hooks/freehold", format = "uri", max_length = 2048)]
    url: String,
    /// Which events: names, `resource.*`, or `*`.
    #[garde(length(min = 1, max = 100), inner(custom(event_pattern)))]
    #[schema(
        example = json!(["user.*"]),
        pattern = r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$",
        max_length = 128,
        min_items = 1,
        max_items = 100
    )]
    events: Vec<String>,
    /// What it is for.
    #[serde(default)]
    #[garde(length(chars, max = 500))]
    #[schema(example = "CRM sync", max_length = 500)]
    description: String,
    /// Whether to send events at once; true when absent.
    #[garde(skip)]
    #[schema(example = true)]
    is_active: Option<bool>,
}

/// What may be changed about an endpoint; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::UpdateWebhook)]
struct UpdateEndpoint {
    /// Where to send events.
    #[garde(inner(length(max = 2048)))]
    #[schema(example = "https://example.org/hooks/freehold", format = "uri", max_length = 2048)]
    url: Option<String>,
    /// Which events.
    #[garde(inner(length(min = 1, max = 100), inner(custom(event_pattern))))]
    #[schema(
        example = json!(["user.*"]),
        pattern = r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$",
        max_length = 128,
        min_items = 1,
        max_items = 100
    )]
    events: Option<Vec<String>>,
    /// What it is for; null for nothing.
    #[serde(default)]
    #[garde(inner(length(chars, max = 500)))]
    #[schema(value_type = Option<String>, example = "CRM sync", max_length = 500)]
    description: Patch<String>,
    /// Whether events are sent at all.
    #[garde(skip)]
    #[schema(example = false)]
    is_active: Option<bool>,
}

/// A test was asked for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::TestSent)]
struct TestSent {
    /// The delivery to look at.
    id: DeliveryId,
}

/// A webhook was made.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookCreated)]
#[event(type = "webhook.created", subject = webhook_id)]
pub(crate) struct WebhookCreated {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Where events are sent.
    #[schema(example = "https://example.org/hooks/freehold")]
    url: String,
}

/// A webhook was changed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookUpdated)]
#[event(type = "webhook.updated", subject = webhook_id)]
pub(crate) struct WebhookUpdated {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Where events are sent, after the change.
    #[schema(example = "https://example.org/hooks/freehold")]
    url: String,
}

/// A webhook was switched on.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookEnabled)]
#[event(type = "webhook.enabled", subject = webhook_id)]
pub(crate) struct WebhookEnabled {
    /// The endpoint.
    webhook_id: EndpointId,
}

/// A webhook was removed, and its log with it.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDeleted)]
#[event(type = "webhook.deleted", subject = webhook_id)]
pub(crate) struct WebhookDeleted {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Where events were sent.
    #[schema(example = "https://example.org/hooks/freehold")]
    url: String,
}

/// Somebody asked for a test; its receiver gets this event.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookTested)]
#[event(type = "webhook.tested", subject = webhook_id)]
pub(crate) struct WebhookTested {
    /// The endpoint.
    webhook_id: EndpointId,
}

/// List webhooks, newest first.
#[endpoint]
async fn list_webhooks(list: List<NoFilter>, mut tx: Tx) -> Result<Page<Endpoint>> {
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let endpoints = sqlx::query_as!(
        Endpoint,
        "select id, url, events, description, is_active, created_by, created_at, version
         from webhooks.endpoints
         where tenant_id = $1 and ($2::uuid is null or id < $2)
         order by id desc limit $3",
        *tenant,
        after,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(endpoints, |endpoint| *endpoint.id)
}

/// Register an endpoint. Its signing secret is shown once, in this answer.
#[endpoint("webhooks.too_many", "webhooks.url_refused")]
async fn create_webhook(
    State(egress): State<Egress>,
    Json(new): Json<NewEndpoint>,
    mut tx: Tx,
) -> Result<Created<EndpointWithSecret>> {
    check_url(&egress, &new.url)?;
    check_count(&mut tx).await?;
    let (tenant, id, now) = (tx.tenant(), EndpointId::new(), tx.real_now());
    let secret = Secret::generate()?;
    let sealed = tx.seal(&place(&id), secret.bytes()).await?;
    let created_by = tx.actor()?.principal.to_string();
    let endpoint = sqlx::query_as!(
        Endpoint,
        "insert into webhooks.endpoints
           (tenant_id, id, url, events, description, is_active, sealed_secret, created_by, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         returning id, url, events, description, is_active, created_by, created_at, version",
        *tenant,
        *id,
        new.url,
        &new.events,
        new.description,
        new.is_active.unwrap_or(true),
        sealed,
        created_by,
        now as _,
    )
    .fetch_one(tx.db())
    .await?;
    tx.emit(WebhookCreated { webhook_id: id, url: new.url }).await?;
    Ok(Created(EndpointWithSecret { endpoint, secret: secret.text() }))
}

/// See an endpoint.
#[endpoint]
async fn get_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<WithEtag<Endpoint>> {
    Ok(find(&mut tx, id).await?.into())
}

/// Change an endpoint. With `If-Match`, only if nobody else has meanwhile.
#[endpoint("webhooks.url_refused")]
async fn update_webhook(
    Path(id): Path<EndpointId>,
    if_match: IfMatch,
    State(egress): State<Egress>,
    Json(patch): Json<UpdateEndpoint>,
    mut tx: Tx,
) -> Result<WithEtag<Endpoint>> {
    if let Some(url) = &patch.url {
        check_url(&egress, url)?;
    }
    let before = find(&mut tx, id).await?;
    if_match.check(before.version)?;
    let tenant = tx.tenant();
    let after = sqlx::query_as!(
        Endpoint,
        "update webhooks.endpoints
         set url = coalesce($3, url), events = coalesce($4, events), description = $5,
           is_active = coalesce($6, is_active), version = version + 1
         where tenant_id = $1 and id = $2 and version = $7
         returning id, url, events, description, is_active, created_by, created_at, version",
        *tenant,
        *id,
        patch.url,
        patch.events.as_deref(),
        patch.description.or_default(&before.description, ""),
        patch.is_active,
        before.version,
    )
    .fetch_optional(tx.db())
    .await?
    .ok_or_else(|| {
        IfMatch(Some(before.version)).check(-1).err().unwrap_or_else(Error::not_found)
    })?;
    let event = WebhookUpdated { webhook_id: id, url: after.url.clone() };
    tx.emit_change(event, &before, &after).await?;
    Ok(after.into())
}

/// Remove an endpoint and its delivery log.
#[endpoint]
async fn delete_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<NoContent> {
    let tenant = tx.tenant();
    let url = sqlx::query_scalar!(
        "delete from webhooks.endpoints where tenant_id = $1 and id = $2 returning url",
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    tx.emit(WebhookDeleted { webhook_id: id, url }).await?;
    Ok(NoContent)
}

/// Switch an endpoint on again.
#[endpoint]
async fn enable_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<WithEtag<Endpoint>> {
    let tenant = tx.tenant();
    let endpoint = sqlx::query_as!(
        Endpoint,
        "update webhooks.endpoints set is_active = true, version = version + 1
         where tenant_id = $1 and id = $2
         returning id, url, events, description, is_active, created_by, created_at, version",
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    tx.emit(WebhookEnabled { webhook_id: id }).await?;
    Ok(endpoint.into())
}

/// Send a `webhook.tested` event to this endpoint alone, whatever it subscribes to.
#[endpoint]
async fn test_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<Json<TestSent>> {
    find(&mut tx, id).await?;
    let event = tx.emit(WebhookTested { webhook_id: id }).await?;
    let (tenant, now) = (tx.tenant(), tx.now());
    let made = sqlx::query!(
        r#"insert into webhooks.deliveries
             (tenant_id, id, endpoint_id, event_id, event_type, event_at, created_at)
           values ($1, webhooks.delivery_id($3, $2), $2, $3, 'webhook.tested', $4, $5)
           returning id as "id: DeliveryId", turn"#,
        *tenant,
        *id,
        *event.id,
        event.at as _,
        now as _,
    )
    .fetch_one(tx.db())
    .await?;
    tx.enqueue(&Deliver { delivery: made.id, endpoint: id, turn: made.turn })?;
    Ok(Json(TestSent { id: made.id }))
}

/// A rule for garde: a name, `resource.*`, or `*`.
fn event_pattern(pattern: &str, _: &()) -> garde::Result {
    let name = pattern.strip_suffix(".*").unwrap_or(pattern);
    let named = !name.is_empty()
        && pattern.len() <= 128
        && name.split('.').all(|word| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        });
    if pattern == "*" || named {
        return Ok(());
    }
    Err(garde::Error::new("a name as in user.created, `user.*`, or `*`"))
}

/// What can be told of a URL without asking DNS; the rest is checked at every request.
fn check_url(egress: &Egress, url: &str) -> Result<()> {
    egress
        .check_url(url)
        .map(drop)
        .map_err(|refusal| Error::invalid("/url", "webhooks.url_refused", refusal.to_string()))
}

async fn check_count(tx: &mut Tx) -> Result<()> {
    let tenant = tx.tenant();
    // One at a time, or two could both find the last place free.
    sqlx::query!(
        "select tenant_id from core.tenants where tenant_id = $1 for no key update",
        *tenant
    )
    .fetch_one(tx.db())
    .await?;
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from webhooks.endpoints where tenant_id = $1"#,
        *tenant,
    )
    .fetch_one(tx.db())
    .await?;
    if count < ENDPOINTS_MAX {
        return Ok(());
    }
    Err(Error::forbidden(
        "webhooks.too_many",
        format!("A tenant has at most {ENDPOINTS_MAX} webhooks; remove one first."),
    ))
}

async fn find(tx: &mut Tx, id: EndpointId) -> Result<Endpoint> {
    let tenant = tx.tenant();
    let endpoint = sqlx::query_as!(
        Endpoint,
        "select id, url, events, description, is_active, created_by, created_at, version
         from webhooks.endpoints where tenant_id = $1 and id = $2",
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(endpoint)
}

/// Where a secret belongs.
pub(crate) fn place(id: &EndpointId) -> [&[u8]; 2] {
    [b"webhooks.endpoints.sealed_secret", id.as_bytes()]
}

impl From<Endpoint> for WithEtag<Endpoint> {
    fn from(endpoint: Endpoint) -> Self {
        Self { version: endpoint.version, value: endpoint }
    }
}
