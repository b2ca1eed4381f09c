//! `GET /tenants/{id}/users`: operators see who is in a tenant, and the tenant sees that they did.

use freehold_kernel::{
    Cx, Event, List, NoFilter, Page, Path, Reason, Result, Routes, TenantId, UserId, endpoint,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::members::{Member, Row};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/tenants").get("/{id}/users", "users:oversee", list_tenant_users).recorded()
}

/// An operator looked at who is in the tenant.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserReadByOperator)]
#[event(type = "user.read_by_operator", subject = tenant_id)]
pub(crate) struct UserReadByOperator {
    /// The tenant.
    tenant_id: TenantId,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// List the people of a tenant, newest first. For operators.
///
/// Each page is recorded in the tenant, as `user.read_by_operator`.
#[endpoint]
async fn list_tenant_users(
    cx: Cx,
    Path(tenant): Path<TenantId>,
    Reason(reason): Reason,
    list: List<NoFilter>,
) -> Result<Page<Member>> {
    let after = list.after::<Uuid>()?;
    let mut tx = cx.platform_tx().await?;
    sqlx::query!("select tenant_id from core.tenants where tenant_id = $1", *tenant)
        .fetch_one(tx.db())
        .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select m.user_id as "id: UserId", m.email, m.name, m.created_at, array(
             select a.role_id from core.role_assignments a
             where a.tenant_id = $1 and a.user_id = m.user_id and a.outlet_id is null
             order by a.role_id
           ) as "role_ids!"
           from core.memberships m
           where m.tenant_id = $1 and m.status = 'active' and ($2::uuid is null or m.user_id < $2)
           order by m.user_id desc limit $3"#,
        *tenant,
        after,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    tx.emit(tenant, UserReadByOperator { tenant_id: tenant, reason }).await?;
    tx.commit().await?;
    list.page(rows.into_iter().map(Into::into).collect(), |member: &Member| *member.id)
}
