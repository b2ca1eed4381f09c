//! `POST /tenants/{id}/status` and `DELETE /tenants/{id}`: operators suspend, close and reopen.
//!
//! Every node hears of it within a second, so it holds for tokens and keys that are in use.

use freehold_kernel::{
    Change, Cx, Error, Event, IfMatch, Json, Path, Result, Routes, TenantId, Timestamp, WithEtag,
    endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::standing::{self, REOPENS_FOR, Status, Step};
use crate::tenant::Tenant;
use crate::tenants::lock;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/tenants").post("/{id}/status", "tenants:operate", set_tenant_status).delete(
        "/{id}",
        "tenants:operate",
        close_tenant,
    )
}

/// Where the tenant is to stand.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = tenants::SetStatus)]
struct SetStatus {
    /// `active`, `suspended` or `inactive`.
    #[garde(skip)]
    #[schema(example = "suspended")]
    status: Status,
    /// Why; the tenant is told.
    #[garde(inner(length(chars, max = 500), custom(rules::readable)))]
    #[schema(example = "Unpaid since May", format = "name", max_length = 500)]
    reason: Option<String>,
}

/// An operator suspended the tenant: its owners may read, and that is all.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantSuspended)]
#[event(type = "tenant.suspended", subject = tenant_id)]
pub(crate) struct TenantSuspended {
    /// The tenant.
    tenant_id: TenantId,
    /// Why, if the operator said so.
    #[schema(example = "Unpaid since May")]
    reason: Option<String>,
}

/// The tenant works again after it was suspended or closed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantActivated)]
#[event(type = "tenant.activated", subject = tenant_id)]
pub(crate) struct TenantActivated {
    /// The tenant.
    tenant_id: TenantId,
    /// Why, if the operator said so.
    #[schema(example = "Paid")]
    reason: Option<String>,
}

/// An operator closed the tenant: nobody gets in, and what it holds is removed after 30 days.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantClosed)]
#[event(type = "tenant.closed", subject = tenant_id)]
pub(crate) struct TenantClosed {
    /// The tenant.
    tenant_id: TenantId,
    /// Why, if the operator said so.
    #[schema(example = "The contract ended")]
    reason: Option<String>,
    /// Until when it can be reopened; then everything it holds is removed.
    reopens_until: Timestamp,
}

/// Suspend, close or reopen a tenant. For operators.
///
/// A suspended tenant's owners may read with a session, and nobody may do anything else (403
/// `tenants.suspended`); a closed one lets nobody in, can be reopened for 30 days, and is then purged.
/// It holds for tokens and keys in use, on every node, within a second.
#[endpoint("tenants.no_such_step", "tenants.platform_stays", "tenants.closed_for_good")]
async fn set_tenant_status(
    cx: Cx,
    Path(id): Path<TenantId>,
    if_match: IfMatch,
    Json(to): Json<SetStatus>,
) -> Result<WithEtag<Tenant>> {
    Ok(go(&cx, id, &if_match, to.status, to.reason).await?.into())
}

/// Close a tenant. For operators. The same as the status `inactive`.
#[endpoint("tenants.platform_stays")]
async fn close_tenant(
    cx: Cx,
    Path(id): Path<TenantId>,
    if_match: IfMatch,
) -> Result<WithEtag<Tenant>> {
    Ok(go(&cx, id, &if_match, Status::Inactive, None).await?.into())
}

async fn go(
    cx: &Cx,
    id: TenantId,
    if_match: &IfMatch,
    to: Status,
    reason: Option<String>,
) -> Result<Tenant> {
    let mut tx = cx.platform_tx().await?;
    let (before, now) = (lock(&mut tx, id).await?, tx.real_now());
    if_match.check(before.version)?;
    let from = Status::read(&before.status)
        .ok_or_else(|| Error::internal(format!("a tenant that is {}", before.status)))?;
    let step = standing::check(&before.kind, from, to, before.closed_at, now)?;
    if step == Step::Stay {
        return Ok(before);
    }
    let after = sqlx::query_as!(
        Tenant,
        "update core.tenants set status = $2, closed_at = $3, version = version + 1
         where tenant_id = $1
         returning tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at",
        *id,
        to.as_str(),
        (step == Step::Close).then_some(now) as _,
    )
    .fetch_one(tx.db())
    .await?;
    let tenant_id = id;
    match step {
        Step::Suspend => {
            tx.emit_change(id, TenantSuspended { tenant_id, reason }, &before, &after).await?
        }
        Step::Close => {
            let event = TenantClosed { tenant_id, reason, reopens_until: now + REOPENS_FOR };
            tx.emit_change(id, event, &before, &after).await?
        }
        Step::Activate | Step::Stay => {
            tx.emit_change(id, TenantActivated { tenant_id, reason }, &before, &after).await?
        }
    };
    tx.announce(Change::of("tenant", &id));
    tx.commit().await?;
    Ok(after)
}
