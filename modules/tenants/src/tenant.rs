//! `GET` and `PATCH /tenant`: the tenant the caller acts in.

use freehold_kernel::directory::check_slug;
use freehold_kernel::{
    Error, Event, IfMatch, Json, Patch, Result, Routes, TenantId, Timestamp, Tx, WithEtag,
    endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/tenant").get("/", "tenants:read", get_tenant).patch(
        "/",
        "tenants:write",
        update_tenant,
    )
}

/// A tenant, as its own people and operators see it.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::Tenant)]
pub(crate) struct Tenant {
    /// The tenant.
    pub(crate) id: TenantId,
    /// Its name in URLs.
    #[schema(example = "acme")]
    pub(crate) slug: String,
    /// Its name.
    #[schema(example = "Acme Ltd")]
    pub(crate) name: String,
    /// What it is for: `live`, `sandbox` or `platform`.
    #[schema(example = "live")]
    pub(crate) kind: String,
    /// Where it stands: `active`, `suspended` or `inactive`.
    #[schema(example = "active")]
    pub(crate) status: String,
    /// The zone its days begin in, IANA.
    #[schema(example = "Africa/Lagos")]
    pub(crate) time_zone: String,
    /// The language it speaks, BCP 47.
    #[schema(example = "en")]
    pub(crate) locale: String,
    /// The currency it reckons in, ISO 4217.
    #[schema(example = "NGN")]
    pub(crate) currency: String,
    /// Goes up with every change; the `ETag`.
    #[schema(example = 1)]
    pub(crate) version: i64,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it was closed; null while it is not. It can be reopened for 30 days.
    pub(crate) closed_at: Option<Timestamp>,
}

/// What may be changed about a tenant; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = tenants::UpdateTenant)]
pub(crate) struct UpdateTenant {
    /// Its name.
    #[serde(default)]
    #[garde(inner(length(chars, max = 200), custom(rules::readable)))]
    #[schema(value_type = String, example = "Acme Ltd", format = "name", max_length = 200)]
    name: Patch<String>,
    /// Its name in URLs; unique in the installation.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = String, example = "acme", format = "slug")]
    slug: Patch<String>,
    /// The zone its days begin in, IANA; null for UTC.
    #[serde(default)]
    #[garde(inner(custom(rules::time_zone)))]
    #[schema(value_type = Option<String>, example = "Africa/Lagos", format = "time-zone")]
    time_zone: Patch<String>,
    /// The language it speaks, BCP 47; null for `en`.
    #[serde(default)]
    #[garde(inner(custom(rules::locale)))]
    #[schema(value_type = Option<String>, example = "en", format = "locale")]
    locale: Patch<String>,
    /// The currency it reckons in, ISO 4217; null for `USD`.
    #[serde(default)]
    #[garde(inner(custom(rules::currency)))]
    #[schema(value_type = Option<String>, example = "NGN", format = "currency")]
    currency: Patch<String>,
}

/// A tenant's name or settings changed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantUpdated)]
#[event(type = "tenant.updated", subject = tenant_id)]
pub(crate) struct TenantUpdated {
    /// The tenant.
    pub(crate) tenant_id: TenantId,
    /// Its name in URLs, after the change.
    #[schema(example = "acme")]
    pub(crate) slug: String,
    /// Its name, after the change.
    #[schema(example = "Acme Ltd")]
    pub(crate) name: String,
}

/// See the tenant this credential acts in.
#[endpoint]
async fn get_tenant(mut tx: Tx) -> Result<WithEtag<Tenant>> {
    let tenant = tx.tenant();
    let found = sqlx::query_as!(
        Tenant,
        "select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants where tenant_id = $1",
        *tenant,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found.into())
}

/// Change the tenant's name or settings. With `If-Match`, only if nobody else has meanwhile.
///
/// A slug that was given up leads to the tenant for 30 days more, and nobody else can take it; five of
/// them at the most.
#[endpoint("tenants.slug_taken", "core.renamed_too_often")]
async fn update_tenant(
    if_match: IfMatch,
    Json(patch): Json<UpdateTenant>,
    mut tx: Tx,
) -> Result<WithEtag<Tenant>> {
    let before = lock(&mut tx).await?;
    if_match.check(before.version)?;
    let after = patched(&before, patch)?;
    if after == before {
        return Ok(before.into());
    }
    if after.slug != before.slug {
        tx.rename_slug(&before.slug, &after.slug).await.map_err(slug_taken)?;
    }
    let tenant = tx.tenant();
    let after = sqlx::query_as!(
        Tenant,
        "update core.tenants
         set name = $2, slug = $3, time_zone = $4, locale = $5, currency = $6, version = version + 1
         where tenant_id = $1
         returning tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at",
        *tenant,
        after.name,
        after.slug,
        after.time_zone,
        after.locale,
        after.currency,
    )
    .fetch_one(tx.db())
    .await?;
    let event =
        TenantUpdated { tenant_id: tenant, slug: after.slug.clone(), name: after.name.clone() };
    tx.emit_change(event, &before, &after).await?;
    Ok(after.into())
}

async fn lock(tx: &mut Tx) -> Result<Tenant> {
    let tenant = tx.tenant();
    let found = sqlx::query_as!(
        Tenant,
        "select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants where tenant_id = $1 for update",
        *tenant,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}

/// The tenant as the patch would have it.
pub(crate) fn patched(before: &Tenant, patch: UpdateTenant) -> Result<Tenant> {
    let required = |pointer| Error::invalid(pointer, "core.required", "cannot be cleared");
    if patch.name == Patch::Clear {
        return Err(required("/name"));
    }
    let slug = match patch.slug {
        Patch::Keep => before.slug.clone(),
        Patch::Clear => return Err(required("/slug")),
        Patch::Set(slug) => slug,
    };
    if slug != before.slug {
        check_slug(&slug, "/slug")?;
    }
    Ok(Tenant {
        name: patch.name.or_default(&before.name, ""),
        slug,
        time_zone: patch.time_zone.or_default(&before.time_zone, "UTC"),
        locale: patch.locale.or_default(&before.locale, "en"),
        currency: patch.currency.or_default(&before.currency, "USD"),
        ..before.clone()
    })
}

/// Says so as this module does.
pub(crate) fn slug_taken(error: Error) -> Error {
    if error.code() == "core.slug_taken" {
        return Error::conflict("tenants.slug_taken", "This slug is taken.");
    }
    error
}

impl From<Tenant> for WithEtag<Tenant> {
    fn from(tenant: Tenant) -> Self {
        Self { version: tenant.version, value: tenant }
    }
}
