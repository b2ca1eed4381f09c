//! `POST /tenants`, `GET` and `PATCH /tenants/{id}`, `GET /tenants/slug/{slug}`: operators make
//! tenants, look at them and change them. Each look is an event of the tenant looked at.

use freehold_kernel::directory::{self, NewTenant, TenantKind, check_slug};
use freehold_kernel::{
    Created, Cx, Error, Event, FromSegment, IfMatch, Json, Path, PlatformTx, Reason, Result,
    Routes, SystemRole, TenantId, UserId, WithEtag, endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::tenant::{Tenant, TenantUpdated, UpdateTenant, patched, slug_taken};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/tenants")
        .post("/", "tenants:operate", create_tenant)
        .get("/{id}", "tenants:oversee", get_tenant_by_id)
        .recorded()
        .patch("/{id}", "tenants:operate", update_tenant_by_id)
        .get("/slug/{slug}", "tenants:oversee", get_tenant_by_slug)
        .recorded()
}

/// A new tenant.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = tenants::NewTenant)]
struct NewTenantRequest {
    /// What people call it.
    #[garde(length(chars, max = 200), custom(rules::readable))]
    #[schema(example = "Acme Ltd", format = "name", max_length = 200)]
    name: String,
    /// Its name in URLs, 3 to 40 of `a-z0-9-`; unique in the installation.
    #[garde(skip)]
    #[schema(example = "acme", format = "slug")]
    slug: String,
    /// What it is for: `live`, or `sandbox` for one with a clock of its own.
    #[garde(skip)]
    kind: Kind,
    /// The address of a person who has registered already and is to own it. Absent: nobody does yet.
    #[garde(inner(length(chars, min = 3, max = 254)))]
    #[schema(example = "ada@example.org", format = "email", min_length = 3, max_length = 254)]
    owner_email: Option<String>,
}

/// What a tenant that an operator makes is for.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "String")]
#[schema(as = tenants::NewTenantKind, example = "live")]
enum Kind {
    /// A customer.
    Live,
    /// A customer's playground, with a clock of its own.
    Sandbox,
}

impl TryFrom<String> for Kind {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "live" => Ok(Self::Live),
            "sandbox" => Ok(Self::Sandbox),
            _ => Err("live or sandbox"),
        }
    }
}

/// An operator looked at the tenant.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantReadByOperator)]
#[event(type = "tenant.read_by_operator", subject = tenant_id)]
pub(crate) struct TenantReadByOperator {
    /// The tenant.
    tenant_id: TenantId,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// An operator made a person the owner of a new tenant.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantOwnerNamed)]
#[event(type = "tenant.owner_named", subject = user_id)]
pub(crate) struct TenantOwnerNamed {
    /// The tenant.
    tenant_id: TenantId,
    /// Its owner.
    user_id: UserId,
}

/// A slug in a path.
struct Slug(String);

impl FromSegment for Slug {
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[a-z0-9-]{3,40}$"})
    }

    fn from_segment(segment: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_slug = (3..=40).contains(&segment.len()) && segment.bytes().all(fits);
        is_slug.then(|| Self(segment.to_owned()))
    }
}

/// Make a tenant. For operators.
///
/// Its owner can be named if they have registered; a person who has not registers and is then
/// invited.
#[endpoint("tenants.slug_taken")]
async fn create_tenant(cx: Cx, Json(new): Json<NewTenantRequest>) -> Result<Created<Tenant>> {
    check_slug(&new.slug, "/slug")?;
    let kind = match new.kind {
        Kind::Live => TenantKind::Live,
        Kind::Sandbox => TenantKind::Sandbox,
    };
    let mut tx = cx.account_tx().await?;
    let owner = match &new.owner_email {
        Some(email) => {
            Some(directory::person_by_email(&mut tx, email).await?.ok_or_else(|| {
                let rule =
                    "nobody has registered with this address; make the tenant without an owner";
                Error::invalid("/ownerEmail", "tenants.unknown_person", rule)
            })?)
        }
        None => None,
    };
    let made = NewTenant { name: &new.name, slug: &new.slug, kind };
    let tenant = directory::create_tenant(&mut tx, &made).await.map_err(slug_taken)?;
    if let Some(owner) = owner {
        directory::add_member(&mut tx, tenant, owner, SystemRole::Owner).await?;
        tx.emit(tenant, TenantOwnerNamed { tenant_id: tenant, user_id: owner }).await?;
    }
    tx.commit().await?;
    let mut tx = cx.platform_tx().await?;
    Ok(Created(find(&mut tx, tenant).await?))
}

/// See a tenant. For operators; the tenant's audit log says that they did, and why.
#[endpoint]
async fn get_tenant_by_id(
    cx: Cx,
    Path(id): Path<TenantId>,
    Reason(reason): Reason,
) -> Result<WithEtag<Tenant>> {
    Ok(look(&cx, id, reason).await?.into())
}

/// Find a tenant by its slug, or by one that it gave up within the last 30 days. For operators.
#[endpoint]
async fn get_tenant_by_slug(
    cx: Cx,
    Path(Slug(slug)): Path<Slug>,
    Reason(reason): Reason,
) -> Result<WithEtag<Tenant>> {
    let found = cx.platform_tx().await?.tenant_by_slug(&slug).await?;
    let id = found.ok_or_else(Error::not_found)?;
    Ok(look(&cx, id, reason).await?.into())
}

/// Change a tenant's name or settings. For operators. With `If-Match`, only if nobody else has
/// meanwhile.
#[endpoint("tenants.slug_taken", "core.renamed_too_often")]
async fn update_tenant_by_id(
    cx: Cx,
    Path(id): Path<TenantId>,
    if_match: IfMatch,
    Json(patch): Json<UpdateTenant>,
) -> Result<WithEtag<Tenant>> {
    let mut tx = cx.platform_tx().await?;
    let before = lock(&mut tx, id).await?;
    if_match.check(before.version)?;
    let after = patched(&before, patch)?;
    if after == before {
        return Ok(before.into());
    }
    if after.slug != before.slug {
        // The operators' own tenant is found by its name in more places than its row.
        if before.kind == "platform" {
            return Err(Error::invalid("/slug", "core.reserved", "this tenant keeps its name"));
        }
        tx.rename_slug(id, &before.slug, &after.slug).await.map_err(slug_taken)?;
    }
    let after = sqlx::query_as!(
        Tenant,
        "update core.tenants
         set name = $2, slug = $3, time_zone = $4, locale = $5, currency = $6, version = version + 1
         where tenant_id = $1
         returning tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at",
        *id,
        after.name,
        after.slug,
        after.time_zone,
        after.locale,
        after.currency,
    )
    .fetch_one(tx.db())
    .await?;
    let event = TenantUpdated { tenant_id: id, slug: after.slug.clone(), name: after.name.clone() };
    tx.emit_change(id, event, &before, &after).await?;
    tx.commit().await?;
    Ok(after.into())
}

/// Reads a tenant, and writes down in it that an operator did.
async fn look(cx: &Cx, id: TenantId, reason: Option<String>) -> Result<Tenant> {
    let mut tx = cx.platform_tx().await?;
    let tenant = find(&mut tx, id).await?;
    tx.emit(id, TenantReadByOperator { tenant_id: id, reason }).await?;
    tx.commit().await?;
    Ok(tenant)
}

async fn find(tx: &mut PlatformTx, id: TenantId) -> Result<Tenant> {
    let found = sqlx::query_as!(
        Tenant,
        "select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants where tenant_id = $1",
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}

/// The tenant, which nobody else changes until this transaction ends.
pub(crate) async fn lock(tx: &mut PlatformTx, id: TenantId) -> Result<Tenant> {
    let found = sqlx::query_as!(
        Tenant,
        "select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants where tenant_id = $1 for update",
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}
