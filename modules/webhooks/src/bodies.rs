//! What receivers answered is kept for a while; that they did, for as long as the log.

use freehold_kernel::{Result, SystemTx};

use crate::{Settings, TIDIED_AT_ONCE};

/// Forgets bodies whose time is over. A schedule's tick.
pub(crate) async fn forget(tx: &mut SystemTx) -> Result<()> {
    let settings: Settings = tx.app().state().unwrap_or_default();
    let before = tx.real_now() - settings.bodies_kept;
    sqlx::query!(
        "-- tidy: across tenants because one statement cleans up after all
         with recursive tenants as (
           (select tenant_id from webhooks.attempts where response_body <> ''
            order by tenant_id limit 1)
           union all
           select n.tenant_id from tenants t cross join lateral (
             select tenant_id from webhooks.attempts
             where response_body <> '' and tenant_id > t.tenant_id
             order by tenant_id limit 1) as n
         ), old as (
           select a.tenant_id, a.delivery_id, a.number from tenants t cross join lateral (
             select tenant_id, delivery_id, number from webhooks.attempts
             where tenant_id = t.tenant_id and response_body <> '' and at < $1
             order by at limit $2) as a
           limit $2
         )
         update webhooks.attempts a set response_body = null
         from old where a.tenant_id = old.tenant_id and a.delivery_id = old.delivery_id
           and a.number = old.number",
        before as _,
        TIDIED_AT_ONCE,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
