//! A tenant's life through the API: enough of it to fill every tenant table.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use freehold_kernel::{TenantId, UserId};
use freehold_proof::{Request, Subject, tables};
use serde_json::{Value, json};

use super::ask::{Ask, text};
use super::receiver::Receiver;

/// What everybody signs in with.
pub const PASSWORD: &str = "tarn-Kelp7-obverse";

/// How long an event may take to the tenant's own server.
const ARRIVAL: Duration = Duration::from_secs(30);

/// What a tenant that has lived for a while has.
pub struct Life {
    /// What it is called.
    pub name: String,
    /// The tenant.
    pub tenant: TenantId,
    /// Its name in URLs.
    pub slug: String,
    /// Its owner.
    pub owner: UserId,
    /// The owner's address.
    pub email: String,
    /// The owner, signed in.
    pub access_token: String,
    /// The owner's session.
    pub session: String,
    /// An API key of the owner's.
    pub api_key: String,
    /// Its secret.
    pub api_key_secret: String,
    /// A service account.
    pub service_account: String,
    /// A role of the tenant's own.
    pub role: String,
    /// A webhook, at a receiver that answers.
    pub webhook: String,
    /// A delivery that arrived there.
    pub delivery: String,
    /// A link for a customer.
    pub portal_link: String,
    /// A replay of what it missed: nothing.
    pub replay: String,
    /// A kind of event of its own, by its name.
    pub event_type: String,
    /// The `Idempotency-Key` that the service account was made with.
    pub idempotency_key: String,
    /// Takes what comes later as well.
    receiver: Receiver,
}

impl Life {
    /// Its own server, which takes every webhook.
    #[must_use]
    pub fn receiver(&self) -> String {
        format!("http://{}/", self.receiver.address)
    }
}

/// Registers, signs in, and uses everything once. Whatever can be named bears the tenant's name, so
/// that it is known when it shows up elsewhere.
///
/// # Errors
/// When a request is refused, or the event does not arrive.
pub async fn live(subject: &Subject, name: &str) -> anyhow::Result<Life> {
    let registered = register(subject, name).await?;
    let access_token = text(&registered, "/accessToken")?;
    let owner = Ask::nobody(subject)?.with(&access_token);
    let tenant: TenantId = text(&registered, "/tenant/id")?.parse()?;
    let roles = owner.get("/api/v1/roles").await?;
    let viewer = named(&roles, "Viewer")?;
    let idempotency_key = "the only import".to_owned();
    let account = json!({"name": format!("import of {name}"), "roleIds": [viewer]});
    let account = Request::new("POST", "/api/v1/service-accounts").json(account);
    let account = owner.send(account.header("idempotency-key", &idempotency_key)).await?;
    let role = json!({
        "name": format!("Support of {name}"), "description": format!("Helps {name}"),
        "permissions": [],
    });
    let role = owner.post("/api/v1/roles", role).await?;
    let key = owner.post("/api/v1/api-keys", json!({"name": format!("deploy of {name}")})).await?;
    let sessions = owner.get("/api/v1/auth/sessions").await?;
    let (webhook, delivery, receiver) = receive(&owner, name).await?;
    let replay = json!({"since": "2026-01-01T00:00:00Z"});
    let replay = owner.post(&format!("/api/v1/webhooks/{webhook}/replay"), replay).await?;
    let event_type = declare(&owner, name).await?;
    let portal_link = link(&owner, name).await?;
    let ended =
        Request::new("DELETE", &format!("/api/v1/portal-links/{}", link(&owner, name).await?));
    owner.send(ended).await?;
    tables::fill(subject, tenant).await?;
    Ok(Life {
        name: name.to_owned(),
        tenant,
        slug: text(&registered, "/tenant/slug")?,
        owner: text(&registered, "/user/id")?.parse()?,
        email: email(name),
        access_token,
        session: text(&sessions, "/data/0/id")?,
        api_key: text(&key, "/id")?,
        api_key_secret: text(&key, "/secret")?,
        service_account: text(&account, "/id")?,
        role: text(&role, "/id")?,
        webhook,
        delivery,
        portal_link,
        replay: text(&replay, "/id")?,
        event_type,
        idempotency_key,
        receiver,
    })
}

/// A new person with a tenant of this name.
///
/// # Errors
/// When that is refused.
pub async fn register(subject: &Subject, name: &str) -> anyhow::Result<Value> {
    let body = json!({
        "email": email(name), "password": PASSWORD, "name": format!("Owner of {name}"),
        "tenantName": name,
    });
    let request = Request::new("POST", "/api/v1/auth/register").json(body);
    Ask::nobody(subject)?.send(request.header("user-agent", &format!("browser of {name}"))).await
}

/// The address that the owner of a tenant registers with.
pub(super) fn email(name: &str) -> String {
    format!("{}@example.org", name.to_lowercase().replace(' ', "-"))
}

/// The id of the one that is called so.
pub(super) fn named(list: &Value, name: &str) -> anyhow::Result<Value> {
    let found = list["data"].as_array().into_iter().flatten().find(|one| one["name"] == name);
    Ok(found.with_context(|| format!("no {name} in {list}"))?["id"].clone())
}

/// A link for a customer of the tenant's.
async fn link(owner: &Ask, name: &str) -> anyhow::Result<String> {
    let link = json!({"customer": format!("customer of {name}")});
    text(&owner.post("/api/v1/portal-links", link).await?, "/id")
}

/// A kind of event of the tenant's own, with a schema.
async fn declare(owner: &Ask, name: &str) -> anyhow::Result<String> {
    let slug = name.to_lowercase().replace(' ', "-");
    let body = json!({
        "name": format!("invoice.of-{slug}"), "description": format!("An invoice of {name}"),
        "schema": {"title": format!("Invoices of {name}"), "required": ["total"]},
        "sample": {"total": 7, "note": format!("for {name}")},
    });
    text(&owner.post("/api/v1/event-types", body).await?, "/name")
}

/// A webhook that has got an event of the tenant's own product.
async fn receive(owner: &Ask, name: &str) -> anyhow::Result<(String, String, Receiver)> {
    let receiver = Receiver::start().await?;
    let body = json!({
        "url": format!("http://{}/", receiver.address), "events": ["order.*"],
        "description": format!("Tells {name}"), "headers": {"x-for": format!("for {name}")},
    });
    let webhook = text(&owner.post("/api/v1/webhooks", body).await?, "/id")?;
    let data = json!({"total": 7, "note": format!("for {name}")});
    let event = json!({"type": "order.paid", "id": "order-1", "data": data});
    owner.post("/api/v1/events", event).await?;
    let log = format!("/api/v1/webhooks/{webhook}/deliveries?status=delivered");
    let deadline = Instant::now() + ARRIVAL;
    loop {
        let page = owner.get(&log).await?;
        if let Some(id) = page["data"][0]["id"].as_str() {
            return Ok((webhook, id.to_owned(), receiver));
        }
        if Instant::now() > deadline {
            bail!("an event does not arrive at the webhook {webhook}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
