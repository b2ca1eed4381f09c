//! One of every kind of principal, made the way people and programs are made, and what they know
//! of each other.

use std::sync::Arc;

use anyhow::Context;
use freehold_identity::{Claims, TokenKeys};
use freehold_kernel::directory::{self, NewTenant, TenantKind};
use freehold_kernel::{AccountTx, SystemRole, TenantId};
use freehold_proof::Subject;
use freehold_proof::routes::{Caller, Cast, Side};
use serde_json::json;

use super::ask::{Ask, text};
use super::life::{self, Life, PASSWORD};

/// One of every kind of principal: those of `own`, those of tenants that are neither, and those who
/// are not let in. None of them belongs to `other`.
///
/// # Errors
/// When one of them cannot be made.
pub async fn cast(subject: &Subject, own: &Life, other: &Life) -> anyhow::Result<Cast> {
    let mut callers = vec![belongs("owner", &own.access_token)];
    for (name, role) in [
        ("admin", SystemRole::Admin),
        ("member", SystemRole::Member),
        ("viewer", SystemRole::Viewer),
        ("agent", SystemRole::Agent),
    ] {
        let token = Box::pin(member(subject, own, name, role)).await?;
        callers.push(belongs(name, &token));
    }
    callers.push(belongs("API key", &own.api_key_secret));
    callers.push(belongs("service account", &service_account(subject, own).await?));
    // One of the tenant's customers: what is the tenant's own is not theirs.
    callers.push(stranger("portal link", Some(portal_link(subject, own).await?)));
    callers.push(stranger("other tenant's owner", Some(owner_elsewhere(subject, "Third").await?)));
    let operator = Box::pin(operator(subject)).await?;
    let suspended = suspended(subject, &operator).await?;
    callers.push(Caller { oversees: true, ..stranger("operator without reason", Some(operator)) });
    callers.push(stranger("anonymous", None));
    callers.push(stranger("suspended tenant", Some(suspended)));
    callers.push(stranger("expired token", Some(expired(subject, own)?)));
    callers.push(stranger("wrong audience", Some(for_somebody_else(subject, own)?)));
    // Reading the log is on the log, with what was looked for.
    let repeats = vec!["GET /api/v1/audit-logs".to_owned()];
    Ok(Cast {
        callers,
        own: side(own),
        other: side(other),
        bodies: bodies(own, other),
        repeats,
        modules: Vec::new(),
    })
}

fn belongs(name: &'static str, credential: &str) -> Caller {
    Caller { belongs: true, ..stranger(name, Some(credential.to_owned())) }
}

fn stranger(name: &'static str, credential: Option<String>) -> Caller {
    Caller { name, credential, oversees: false, belongs: false }
}

/// Somebody who registered for themselves and was then taken into a tenant.
async fn member(
    subject: &Subject,
    life: &Life,
    name: &str,
    role: SystemRole,
) -> anyhow::Result<String> {
    let person = life::register(subject, &unique(name)?).await?;
    let user = text(&person, "/user/id")?.parse()?;
    let mut tx = subject.app.account_tx().await?;
    directory::add_member(&mut tx, life.tenant, user, role).await?;
    tx.commit().await?;
    act_in(subject, &text(&person, "/accessToken")?, life.tenant).await
}

/// A name that nobody has in this installation, however often this is done.
fn unique(name: &str) -> anyhow::Result<String> {
    Ok(format!("{name} {}", hex::encode(freehold_kernel::crypto::random::<4>()?)))
}

async fn act_in(subject: &Subject, token: &str, tenant: TenantId) -> anyhow::Result<String> {
    let there = Ask::nobody(subject)?.with(token);
    let there = there.post("/api/v1/auth/switch-tenant", json!({"tenantId": tenant})).await?;
    text(&there, "/accessToken")
}

/// The key of a program that may do what admins may.
async fn service_account(subject: &Subject, life: &Life) -> anyhow::Result<String> {
    let owner = Ask::nobody(subject)?.with(&life.access_token);
    let roles = owner.get("/api/v1/roles").await?;
    let account = json!({"name": "robot", "roleIds": [life::named(&roles, "Admin")?]});
    let account = owner.post("/api/v1/service-accounts", account).await?;
    let key = json!({"name": "robot", "serviceAccountId": text(&account, "/id")?});
    text(&owner.post("/api/v1/api-keys", key).await?, "/secret")
}

/// A link for a customer who has nothing yet.
async fn portal_link(subject: &Subject, life: &Life) -> anyhow::Result<String> {
    let owner = Ask::nobody(subject)?.with(&life.access_token);
    let link = json!({"customer": "cust_0001", "expiresInSeconds": 86_400});
    text(&owner.post("/api/v1/portal-links", link).await?, "/token")
}

async fn owner_elsewhere(subject: &Subject, name: &str) -> anyhow::Result<String> {
    text(&life::register(subject, &unique(name)?).await?, "/accessToken")
}

/// A member of the platform's tenant, which is made if nobody has.
async fn operator(subject: &Subject) -> anyhow::Result<String> {
    let person = life::register(subject, &unique("Operator")?).await?;
    let user = text(&person, "/user/id")?.parse()?;
    let mut tx = subject.app.account_tx().await?;
    let platform = platform(&mut tx).await?;
    directory::add_member(&mut tx, platform, user, SystemRole::Operator).await?;
    tx.commit().await?;
    act_in(subject, &text(&person, "/accessToken")?, platform).await
}

async fn platform(tx: &mut AccountTx) -> anyhow::Result<TenantId> {
    if let Ok(platform) = directory::platform_tenant(tx).await {
        return Ok(platform);
    }
    let new = NewTenant { name: "Platform", slug: "platform", kind: TenantKind::Platform };
    Ok(directory::create_tenant(tx, &new).await?)
}

/// The owner of a tenant that an operator has suspended.
async fn suspended(subject: &Subject, operator: &str) -> anyhow::Result<String> {
    let owner = life::register(subject, &unique("Debtor")?).await?;
    let status = format!("/api/v1/tenants/{}/status", text(&owner, "/tenant/id")?);
    let body = json!({"status": "suspended", "reason": "Unpaid since May"});
    Ask::nobody(subject)?.with(operator).post(&status, body).await?;
    text(&owner, "/accessToken")
}

/// A token of the owner's whose time is over.
fn expired(subject: &Subject, life: &Life) -> anyhow::Result<String> {
    sign(subject, life, |claims| claims.exp = claims.iat.saturating_sub(1))
}

/// A token of the owner's for another installation.
fn for_somebody_else(subject: &Subject, life: &Life) -> anyhow::Result<String> {
    sign(subject, life, |claims| claims.aud = "https://elsewhere.example".to_owned())
}

/// The owner's token, changed and signed anew with the installation's own key.
fn sign(
    subject: &Subject,
    life: &Life,
    change: impl FnOnce(&mut Claims),
) -> anyhow::Result<String> {
    let keys: Arc<TokenKeys> = subject.app.state().context("identity keeps its keys")?;
    let config = subject.app.config();
    let mut claims = keys.verify(&life.access_token, &config.public_url, config.clock.now())?;
    change(&mut claims);
    Ok(keys.sign(&claims)?)
}

fn side(life: &Life) -> Side {
    let ids = [
        life.tenant.to_string(),
        life.owner.to_string(),
        life.api_key.clone(),
        life.service_account.clone(),
        life.session.clone(),
        life.role.clone(),
        life.webhook.clone(),
        life.delivery.clone(),
        life.portal_link.clone(),
        life.replay.clone(),
    ];
    Side {
        tenant: life.tenant,
        slug: life.slug.clone(),
        segments: vec![("name", life.event_type.clone())],
        ids: ids.into(),
        words: vec![life.name.clone(), life.email.clone(), life.event_type.clone()],
        credential: life.access_token.clone(),
        idempotency_keys: vec![life.idempotency_key.clone()],
    }
}

/// Bodies that come further than the examples do.
fn bodies(own: &Life, other: &Life) -> Vec<(String, serde_json::Value)> {
    let account = json!({"name": "import", "roleIds": [own.role]});
    let key = json!({"name": "deploy", "serviceAccountId": own.service_account});
    let hook = json!({"url": own.receiver(), "events": ["order.*"]});
    let event = json!({"type": "order.paid", "id": "order-1", "data": {"total": 8}});
    let into_other = json!({"email": own.email, "password": PASSWORD, "tenantId": other.tenant});
    let password =
        json!({"currentPassword": "not-Tarn3-kelp", "newPassword": "gorse-Lamp4-tundra"});
    [
        ("POST /api/v1/service-accounts", account),
        ("POST /api/v1/api-keys", key),
        ("POST /api/v1/webhooks", hook),
        ("POST /api/v1/events", event),
        ("POST /api/v1/event-types", json!({"name": "order.sent", "schema": {"type": "object"}})),
        ("POST /api/v1/auth/login", into_other),
        ("POST /api/v1/auth/change-password", password),
        ("POST /api/v1/auth/step-up", json!({"password": "not-Tarn3-kelp"})),
    ]
    .map(|(route, body)| (route.to_owned(), body))
    .into()
}
