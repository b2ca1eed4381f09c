//! Tenants that were closed for a month are purged: every row of theirs goes, in batches, and the
//! platform's audit log keeps a receipt.

use super::Left;
use crate::directory::{self, TenantId, TenantPurged};
use crate::error::Result;
use crate::tx::SystemTx;

/// How many rows one transaction removes.
const BATCH: i32 = 5000;

/// Removes a batch of rows of a closed tenant, and writes the receipt once nothing is left. A node
/// that dies within a batch loses that batch's work only: what is left to do is what is still there.
pub(super) async fn purge(tx: &mut SystemTx) -> Result<Left> {
    let due = sqlx::query_scalar!(
        "-- tidy: across tenants because any may be due
         select tenant_id from core.tenants
         where status = 'inactive' and kind <> 'platform'
           and closed_at < statement_timestamp() - interval '31 days'
         order by closed_at limit 1"
    )
    .fetch_optional(tx.db())
    .await?;
    let Some(tenant) = due else { return Ok(Left::Nothing) };
    let done =
        sqlx::query_scalar!(r#"select core.purge_tenant($1, $2) as "done!""#, *tenant, BATCH,)
            .fetch_one(tx.db())
            .await?;
    if done {
        write_receipt(tx, tenant).await?;
    }
    // Another tenant may be due.
    Ok(Left::More)
}

async fn write_receipt(tx: &mut SystemTx, tenant: TenantId) -> Result<()> {
    let receipt =
        sqlx::query!("delete from core.purges where id = $1 returning slug, removed", *tenant)
            .fetch_one(tx.db())
            .await?;
    let platform = directory::platform_of_system(tx).await?;
    let event = TenantPurged { tenant_id: tenant, slug: receipt.slug, removed: receipt.removed };
    tx.emit(platform, event).await?;
    tracing::info!(%tenant, "a tenant that was closed a month ago has been purged");
    Ok(())
}
