//! Rows for the kernel's tables that no request fills.

use freehold_kernel::TenantId;
use sqlx::types::chrono::{DateTime, Utc};

use crate::{Result, Subject};

/// 1 January 2015, in seconds since 1970.
const LONG_AGO: i64 = 1_420_070_400;
const MONTH: i64 = 31 * 24 * 60 * 60;

/// Gives a tenant a clock, which only sandboxes have, and a month of events that was dropped, which
/// takes years: a sweep needs rows in every table.
///
/// # Errors
/// When the database refuses.
pub async fn fill(subject: &Subject, tenant: TenantId) -> Result<()> {
    sqlx::query(
        "insert into core.tenant_clocks (tenant_id, stands_at, set_at, frozen)
         values ($1, $2, $2, false)",
    )
    .bind(*tenant)
    .bind(subject.app.config().clock.now())
    .execute(&subject.superuser)
    .await?;
    let at = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0);
    sqlx::query(
        "insert into core.event_gaps (tenant_id, from_at, until_at, events, digest)
         values ($1, $2, $3, 1, sha256($4))",
    )
    .bind(*tenant)
    .bind(at(LONG_AGO))
    .bind(at(LONG_AGO + MONTH))
    .bind(tenant.as_bytes().as_slice())
    .execute(&subject.superuser)
    .await?;
    Ok(())
}
