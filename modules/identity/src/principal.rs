//! Reads what a person or a program may do right now, and who is remembered as whom.

use std::sync::Arc;

use freehold_kernel::{
    AccountTx, Actor, App, Permissions, Principal, Result, RoleId, ServiceAccountId, SystemRole,
    TenantId, Timestamp, UserId,
};
use uuid::Uuid;

use crate::permissions::is_offered;
use crate::reach::Reach;
use crate::session::SessionId;

/// What system roles and the permissions of custom roles allow together. Ids of roles that no
/// longer exist allow nothing, nor do permissions that no module declares any more.
pub(crate) fn permissions_of(app: &App, role_ids: &[Uuid], custom: &[String]) -> Permissions {
    let roles: Vec<SystemRole> =
        role_ids.iter().filter_map(|id| SystemRole::from_id(RoleId::from_uuid(*id))).collect();
    let system = app.permissions_of(&roles);
    let custom = custom.iter().map(String::as_str).filter(|name| is_offered(app, name));
    system.iter().chain(custom).collect()
}

/// What somebody may do in a tenant, and how far the tenant's own standing lets them.
pub(crate) struct Standing {
    pub(crate) permissions: Permissions,
    pub(crate) reach: Reach,
}

impl Standing {
    /// Of a person who is in no tenant.
    pub(crate) fn nowhere() -> Self {
        Self { permissions: Permissions::default(), reach: Reach::Everything }
    }
}

/// What a member may do in a tenant.
///
/// # Errors
/// 404 for a tenant the person is not in, 403 for one that is closed.
pub(crate) async fn member(
    app: &App,
    tx: &mut AccountTx,
    tenant: TenantId,
    user: UserId,
) -> Result<Standing> {
    let row = sqlx::query!(
        r#"select t.status, array(
             select a.role_id from core.role_assignments a
             where a.tenant_id = $1 and a.user_id = $2 and a.outlet_id is null
           ) as "roles!", array(
             select unnest(r.permissions) from core.role_assignments a
             join identity.roles r on r.tenant_id = a.tenant_id and r.id = a.role_id
             where a.tenant_id = $1 and a.user_id = $2 and a.outlet_id is null
           ) as "custom!"
           from core.memberships m
           join core.tenants t on t.tenant_id = m.tenant_id
           join core.users u on u.id = m.user_id
           where m.tenant_id = $1 and m.user_id = $2 and m.status = 'active' and u.status = 'active'"#,
        *tenant,
        *user,
    )
    .fetch_one(tx.db())
    .await?;
    let is_owner = row.roles.contains(&*SystemRole::Owner.id());
    let reach = Reach::of_person(&row.status, is_owner)?;
    Ok(Standing { permissions: permissions_of(app, &row.roles, &row.custom), reach })
}

/// What a service account may do.
///
/// # Errors
/// 404 when it is gone, 403 when its tenant is closed.
pub(crate) async fn service_account(
    app: &App,
    tx: &mut AccountTx,
    tenant: TenantId,
    id: ServiceAccountId,
) -> Result<Standing> {
    let row = sqlx::query!(
        r#"select t.status, s.role_ids, array(
             select unnest(r.permissions) from identity.roles r
             where r.tenant_id = $1 and r.id = any (s.role_ids)
           ) as "custom!"
           from identity.service_accounts s
           join core.tenants t on t.tenant_id = s.tenant_id
           where s.tenant_id = $1 and s.id = $2"#,
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    let reach = Reach::of_person(&row.status, false)?;
    Ok(Standing { permissions: permissions_of(app, &row.role_ids, &row.custom), reach })
}

/// A person with a session.
pub(crate) fn actor(
    tenant: Option<TenantId>,
    user: UserId,
    session: SessionId,
    authenticated_at: Timestamp,
    permissions: Permissions,
) -> Arc<Actor> {
    Arc::new(Actor {
        tenant,
        principal: Principal::User(user),
        credential: session.to_string(),
        permissions,
        aal: 1,
        authenticated_at: Some(authenticated_at),
        customer: None,
    })
}

/// Names what is remembered about a principal in a tenant, in the change feed.
pub(crate) fn subject(tenant: TenantId, principal: Principal) -> String {
    format!("{tenant}/{principal}")
}
