//! Webhook endpoints: where a tenant wants its events.

use std::sync::Arc;

use freehold_egress::Egress;
use freehold_kernel::{
    Created, Error, Event, Id, IfMatch, Json, List, Named, NoContent, Page, Patch, Path, Result,
    Routes, State, TenantId, Timestamp, Tx, WithEtag, endpoint,
};
use serde::{Deserialize, Serialize};
use sqlx::types::Json as Kept;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::endpoint_acts::WebhookEnabled;
use crate::endpoint_input::{NewEndpoint, UpdateEndpoint};
use crate::options::{Headers, Options, seal as seal_headers};
use crate::removal;
use crate::signature::{HMAC, Secret};

/// Endpoints of one tenant, beside those of its customers.
const ENDPOINTS_MAX: i64 = 100;
/// Endpoints of one customer.
const CUSTOMERS_MAX: i64 = 10;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/webhooks")
        .get("/", "webhooks:read", list_webhooks)
        .portal()
        .post("/", "webhooks:write", create_webhook)
        .portal()
        .get("/{id}", "webhooks:read", get_webhook)
        .portal()
        .patch("/{id}", "webhooks:write", update_webhook)
        .portal()
        .delete("/{id}", "webhooks:delete", delete_webhook)
        .portal()
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
    /// The tenant.
    tenant_id: TenantId,
    /// Whose it is: your own id of your customer; null for one of yours.
    #[schema(example = "cust_4711")]
    customer: Option<String>,
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
    pub(crate) is_active: bool,
    /// Why Freehold switched it off, if it did.
    #[schema(example = "the receiver answered 410 Gone")]
    disabled_reason: Option<String>,
    /// Since when nothing was accepted; null: the last request was.
    failing_since: Option<Timestamp>,
    /// The names of its own headers.
    #[schema(example = json!(["Authorization"]))]
    header_names: Vec<String>,
    /// `hmac-sha256` or `ed25519`.
    #[schema(example = "hmac-sha256")]
    pub(crate) signing: String,
    /// What signatures are checked with, if it is signed with `ed25519`.
    #[schema(example = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")]
    public_key: Option<String>,
    /// Until when requests are signed with the secret before this one, too.
    pub(crate) previous_secret_until: Option<Timestamp>,
    /// How it wants its requests.
    #[serde(flatten)]
    #[schema(inline, value_type = Options)]
    options: Kept<Options>,
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
pub(crate) struct EndpointWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    #[schema(inline)]
    pub(crate) endpoint: Endpoint,
    /// What its requests are signed with (Standard Webhooks). Shown this once; null with `ed25519`,
    /// where `publicKey` is all that a receiver needs.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub(crate) secret: Option<String>,
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

/// Which endpoints.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = webhooks::WebhookFilter)]
struct EndpointFilter {
    /// Only this customer's.
    #[schema(example = "cust_4711")]
    customer: Option<String>,
}

/// List webhooks, newest first.
#[endpoint]
async fn list_webhooks(list: List<EndpointFilter>, mut tx: Tx) -> Result<Page<Endpoint>> {
    let (tenant, after, now) = (tx.tenant(), list.after::<Uuid>()?, tx.real_now());
    let customer = confined_to(&tx);
    let endpoints = sqlx::query_as!(
        Endpoint,
        r#"select id, tenant_id, customer, url, events, description, is_active, disabled_reason, failing_since,
             header_names, signing, public_key, options as "options: Kept<Options>",
             case when previous_until > $4 then previous_until end as previous_secret_until,
             created_by, created_at, version
           from webhooks.endpoints
           where tenant_id = $1 and ($2::uuid is null or id < $2)
             and ($5::text is null or customer = $5) and ($6::text is null or customer = $6)
           order by id desc limit $3"#,
        *tenant,
        after,
        list.fetch_limit(),
        now as _,
        customer.as_deref(),
        list.filter.customer,
    )
    .fetch_all(tx.db())
    .await?;
    list.page(endpoints, |endpoint| *endpoint.id)
}

/// Register an endpoint. Its signing secret is shown once, in this answer.
#[endpoint(
    "webhooks.too_many",
    "webhooks.url_refused",
    "webhooks.other_customer",
    "webhooks.secret_refused"
)]
async fn create_webhook(
    State(egress): State<Egress>,
    Json(new): Json<NewEndpoint>,
    mut tx: Tx,
) -> Result<Created<EndpointWithSecret>> {
    check_url(&egress, &new.url)?;
    let customer = whose(&tx, new.customer.clone())?;
    check_count(&mut tx, customer.as_deref()).await?;
    let (tenant, id, now) = (tx.tenant(), EndpointId::new(), tx.real_now());
    let signing = new.signing.as_deref().unwrap_or(HMAC);
    let secret = match new.secret.as_deref() {
        None => Secret::generate(signing)?,
        Some(text) => Secret::given(text).filter(|_| signing == HMAC).ok_or_else(|| {
            let words = "cannot be given with ed25519, whose key nobody else may have";
            Error::invalid("/secret", "webhooks.secret_refused", words)
        })?,
    };
    let sealed = tx.seal(&place(&id), secret.bytes()).await?;
    let sealed_headers = seal_headers(&mut tx, &id, &new.headers).await?;
    let created_by = tx.actor()?.principal.to_string();
    sqlx::query!(
        "insert into webhooks.endpoints
           (tenant_id, id, url, events, description, is_active, signing, public_key, sealed_secret,
            header_names, sealed_headers, options, created_by, created_at, customer)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        *tenant,
        *id,
        new.url,
        &new.events,
        new.description,
        new.is_active.unwrap_or(true),
        signing,
        secret.public_key()?,
        sealed,
        &names(&new.headers),
        sealed_headers,
        Kept(new.options()) as _,
        created_by,
        now as _,
        customer,
    )
    .execute(tx.db())
    .await?;
    let endpoint = find(&mut tx, id).await?;
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
    let options = patch.options(&before.options.0);
    change_headers(&mut tx, id, &patch.headers).await?;
    let tenant = tx.tenant();
    let changed = sqlx::query!(
        "update webhooks.endpoints
         set url = coalesce($3, url), events = coalesce($4, events), description = $5, options = $6,
           is_active = coalesce($7, is_active), version = version + 1,
           failing_since = case when $7 then null else failing_since end,
           disabled_reason = case when $7 then null else disabled_reason end
         where tenant_id = $1 and id = $2 and version = $8",
        *tenant,
        *id,
        patch.url,
        patch.events.as_deref(),
        patch.description.or_default(&before.description, ""),
        Kept(options) as _,
        patch.is_active,
        before.version,
    )
    .execute(tx.db())
    .await?;
    if changed.rows_affected() == 0 {
        return Err(Error::stale());
    }
    let after = find(&mut tx, id).await?;
    let event = WebhookUpdated { webhook_id: id, url: after.url.clone() };
    tx.emit_change(event, &before, &after).await?;
    if after.is_active && !before.is_active {
        tx.emit(WebhookEnabled { webhook_id: id }).await?;
    }
    Ok(after.into())
}

/// Puts these headers in the place of those there were.
async fn change_headers(tx: &mut Tx, id: EndpointId, headers: &Patch<Headers>) -> Result<()> {
    let headers = match headers {
        Patch::Keep => return Ok(()),
        Patch::Clear => Headers::new(),
        Patch::Set(headers) => headers.clone(),
    };
    let (tenant, sealed) = (tx.tenant(), seal_headers(tx, &id, &headers).await?);
    sqlx::query!(
        "update webhooks.endpoints set header_names = $3, sealed_headers = $4
         where tenant_id = $1 and id = $2",
        *tenant,
        *id,
        &names(&headers),
        sealed,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

fn names(headers: &Headers) -> Vec<String> {
    headers.keys().cloned().collect()
}

/// Remove an endpoint. Nothing more is sent to it; its delivery log goes within minutes.
#[endpoint]
async fn delete_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<NoContent> {
    let (tenant, customer) = (tx.tenant(), confined_to(&tx));
    let url = sqlx::query_scalar!(
        "delete from webhooks.endpoints
         where tenant_id = $1 and id = $2 and ($3::text is null or customer = $3)
         returning url",
        *tenant,
        *id,
        customer.as_deref(),
    )
    .fetch_one(tx.db())
    .await?;
    removal::ask(&mut tx, id)?;
    tx.emit(WebhookDeleted { webhook_id: id, url }).await?;
    Ok(NoContent)
}

/// What can be told of a URL without asking DNS; the rest is checked at every request.
fn check_url(egress: &Egress, url: &str) -> Result<()> {
    egress
        .check_url(url)
        .map(drop)
        .map_err(|refusal| Error::invalid("/url", "webhooks.url_refused", refusal.to_string()))
}

/// The tenant has a limit for itself and each of its customers one of their own, so that no customer
/// learns how many others there are.
async fn check_count(tx: &mut Tx, customer: Option<&str>) -> Result<()> {
    let tenant = tx.tenant();
    // One at a time, or two could both find the last place free.
    sqlx::query!(
        "select tenant_id from core.tenants where tenant_id = $1 for no key update",
        *tenant
    )
    .fetch_one(tx.db())
    .await?;
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from webhooks.endpoints
           where tenant_id = $1 and customer is not distinct from $2"#,
        *tenant,
        customer,
    )
    .fetch_one(tx.db())
    .await?;
    let (most, words) = match customer {
        None => (ENDPOINTS_MAX, "A tenant has at most 100 webhooks; remove one first."),
        Some(_) => (CUSTOMERS_MAX, "A customer has at most 10 webhooks; remove one first."),
    };
    if count < most {
        return Ok(());
    }
    Err(Error::forbidden("webhooks.too_many", words))
}

/// The customer whose endpoints alone this request may see and change; none for the tenant's people
/// and programs, who see all.
pub(crate) fn confined_to(tx: &Tx) -> Option<Arc<str>> {
    tx.actor().ok().and_then(|actor| actor.customer.clone())
}

/// Whose a new endpoint is.
fn whose(tx: &Tx, given: Option<String>) -> Result<Option<String>> {
    match (confined_to(tx), given) {
        (None, given) => Ok(given),
        (Some(own), Some(given)) if *own != *given => Err(Error::invalid(
            "/customer",
            "webhooks.other_customer",
            "your own, which it is when this is absent",
        )),
        (Some(own), _) => Ok(Some(own.to_string())),
    }
}

/// The endpoint as it is now. Whatever is done to an endpoint, or with something of it, begins here.
pub(crate) async fn find(tx: &mut Tx, id: EndpointId) -> Result<Endpoint> {
    let (tenant, now, customer) = (tx.tenant(), tx.real_now(), confined_to(tx));
    let endpoint = sqlx::query_as!(
        Endpoint,
        r#"select id, tenant_id, customer, url, events, description, is_active, disabled_reason, failing_since,
             header_names, signing, public_key, options as "options: Kept<Options>",
             case when previous_until > $3 then previous_until end as previous_secret_until,
             created_by, created_at, version
           from webhooks.endpoints
           where tenant_id = $1 and id = $2 and ($4::text is null or customer = $4)"#,
        *tenant,
        *id,
        now as _,
        customer.as_deref(),
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
