//! Says, to whoever lacks a permission, which roles of their tenant would give it: the kernel knows
//! the system roles, and the tenant's own are known here.

use std::sync::Arc;

use freehold_kernel::ports::Authenticate;
use freehold_kernel::{Access, Actor, Change, Cx, Error, Result, SystemRole, TenantId};
use futures_util::future::BoxFuture;

/// An authenticator whose refusals name the tenant's own roles too.
pub(crate) struct Explained<A>(pub(crate) Arc<A>);

impl<A: Authenticate> Authenticate for Explained<A> {
    fn authenticate<'a>(&'a self, cx: &'a Cx) -> BoxFuture<'a, Result<Option<Arc<Actor>>>> {
        Box::pin(async move {
            let actor = self.0.authenticate(cx).await?;
            if let Some(known) = &actor
                // The names of the tenant's roles are none of their business.
                && known.customer.is_none()
                && let Some(tenant) = known.tenant
                && let Access::Permission(permission) = cx.route().access
                && !known.permissions.allow(permission)
            {
                return Err(refusal(cx, tenant, permission).await?);
            }
            Ok(actor)
        })
    }

    fn forget(&self, change: &Change) {
        self.0.forget(change);
    }

    fn refusals(&self) -> &'static [&'static str] {
        self.0.refusals()
    }
}

/// In the words of the kernel, and with its code.
async fn refusal(cx: &Cx, tenant: TenantId, permission: &str) -> Result<Error> {
    let mut tx = cx.account_tx().await?;
    let own = sqlx::query_scalar!(
        "select name from identity.roles
         where tenant_id = $1 and permissions @> array[$2::text] order by folded_name",
        *tenant,
        permission,
    )
    .fetch_all(tx.db())
    .await?;
    let mut holders: Vec<&str> =
        cx.app().holders(permission).into_iter().map(SystemRole::name).collect();
    holders.extend(own.iter().map(String::as_str));
    Ok(Error::forbidden(
        "core.permission_missing",
        format!("This needs the permission {permission}; it comes with: {}.", holders.join(", ")),
    ))
}
