//! `GET /tenants`: operators find tenants.

use freehold_kernel::{
    Cx, Error, Event, List, Page, PlatformTx, Reason, Result, Routes, TenantId, endpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::tenant::Tenant;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/tenants").get("/", "tenants:oversee", list_tenants).recorded()
}

/// Which tenants, and in which order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = tenants::TenantFilter)]
struct TenantFilter {
    /// Only those that stand so: `active`, `suspended` or `inactive`.
    #[schema(example = "suspended")]
    status: Option<String>,
    /// Only those of this kind: `live`, `sandbox` or `platform`.
    #[schema(example = "live")]
    kind: Option<String>,
    /// Only those whose name or slug begins so, whatever its case.
    #[schema(example = "acm")]
    search: Option<String>,
    /// `newest` first, which is what you get without, or by `name` or by `slug`.
    #[schema(example = "name", pattern = "^(newest|name|slug)$")]
    sort: Option<String>,
}

/// An operator listed tenants. Recorded in the operators' own tenant, once for each search.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantListed)]
#[event(type = "tenant.listed", subject = tenant_id)]
pub(crate) struct TenantListed {
    /// The operators' own tenant.
    tenant_id: TenantId,
    /// What was looked for.
    #[schema(value_type = Object, example = json!({"status": "suspended"}))]
    filter: Value,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// List tenants. For operators.
///
/// The first page of a search is recorded in the operators' own tenant, as `tenant.listed`.
#[endpoint]
async fn list_tenants(
    cx: Cx,
    Reason(reason): Reason,
    list: List<TenantFilter>,
) -> Result<Page<Tenant>> {
    let after = list.after::<(String, Uuid)>()?;
    let is_first = after.is_none();
    let mut tx = cx.platform_tx().await?;
    let sort = list.filter.sort.as_deref().unwrap_or("newest").to_owned();
    let tenants = match sort.as_str() {
        "newest" => newest(&mut tx, &list, after.map(|(_, id)| id)).await?,
        "name" | "slug" => ordered(&mut tx, &list, &sort, after).await?,
        _ => return Err(Error::invalid("sort", "core.choice", "newest, name or slug")),
    };
    if is_first && let Some(own) = cx.signed_in()?.tenant {
        let TenantFilter { status, kind, search, sort } = &list.filter;
        let filter = json!({"status": status, "kind": kind, "search": search, "sort": sort});
        tx.emit(own, TenantListed { tenant_id: own, filter, reason }).await?;
        tx.commit().await?;
    }
    list.page(tenants, |tenant| (key(&sort, tenant), *tenant.id))
}

async fn newest(
    tx: &mut PlatformTx,
    list: &List<TenantFilter>,
    after: Option<Uuid>,
) -> Result<Vec<Tenant>> {
    let found = sqlx::query_as!(
        Tenant,
        "-- tidy: across tenants because operators look after all of them
         select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants
         where ($1::uuid is null or tenant_id < $1)
           and ($2::text is null or status = $2) and ($3::text is null or kind = $3)
           and ($4::text is null
             or starts_with(lower(name), lower($4)) or starts_with(slug, lower($4)))
         order by tenant_id desc limit $5",
        after,
        list.filter.status,
        list.filter.kind,
        list.filter.search,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    Ok(found)
}

/// By name or by slug, byte by byte, so that every database has them in one order.
async fn ordered(
    tx: &mut PlatformTx,
    list: &List<TenantFilter>,
    sort: &str,
    after: Option<(String, Uuid)>,
) -> Result<Vec<Tenant>> {
    let (after_key, after_id) = after.unzip();
    let found = sqlx::query_as!(
        Tenant,
        r#"-- tidy: across tenants because operators look after all of them
         select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants
         where ($1::text is null or (case when $6 = 'name' then name else slug end collate "C", tenant_id)
               > ($1 collate "C", $7))
           and ($2::text is null or status = $2) and ($3::text is null or kind = $3)
           and ($4::text is null
             or starts_with(lower(name), lower($4)) or starts_with(slug, lower($4)))
         order by case when $6 = 'name' then name else slug end collate "C", tenant_id limit $5"#,
        after_key,
        list.filter.status,
        list.filter.kind,
        list.filter.search,
        list.fetch_limit(),
        sort,
        after_id,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(found)
}

/// What the list is in order of.
fn key(sort: &str, tenant: &Tenant) -> String {
    match sort {
        "name" => tenant.name.clone(),
        "slug" => tenant.slug.clone(),
        _ => String::new(),
    }
}
