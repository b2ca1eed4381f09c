//! Ending sessions before their time: the row, the audit record, and every node's memory of it.

use freehold_kernel::{AccountTx, Change, Result, TenantId, UserId, directory};

use crate::session::{SessionId, SessionRevoked};

/// Ends a session, if it still lives.
pub(crate) async fn end(
    tx: &mut AccountTx,
    id: SessionId,
    user: UserId,
    tenant: Option<TenantId>,
    reason: &'static str,
) -> Result<()> {
    let now = tx.real_now();
    let ended = sqlx::query!(
        "update identity.sessions set ended_at = $2, end_reason = $3
         where id = $1 and ended_at is null",
        *id,
        now as _,
        reason,
    )
    .execute(tx.db())
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(());
    }
    tell(tx, id, user, tenant, reason).await
}

/// Ends all of a person's sessions, but for the one that is to stay; says how many.
pub(crate) async fn end_all(
    tx: &mut AccountTx,
    user: UserId,
    stays: Option<SessionId>,
    reason: &'static str,
) -> Result<usize> {
    let now = tx.real_now();
    // Locked in one order, so that two who do this at once do not wait for each other.
    let ended = sqlx::query!(
        "update identity.sessions set ended_at = $2, end_reason = $3
         where id in (
           select id from identity.sessions
           where user_id = $1 and ended_at is null and expires_at > $2
             and id is distinct from $4
           order by id for update)
         returning id, tenant_id",
        *user,
        now as _,
        reason,
        stays.map(|stays| *stays),
    )
    .fetch_all(tx.db())
    .await?;
    for session in &ended {
        tell(tx, session.id, user, session.tenant_id, reason).await?;
    }
    Ok(ended.len())
}

/// Ends a person's oldest sessions, so that no more than `stay` remain.
pub(crate) async fn end_oldest(
    tx: &mut AccountTx,
    user: UserId,
    stay: i64,
    reason: &'static str,
) -> Result<()> {
    let now = tx.real_now();
    let ended = sqlx::query!(
        "update identity.sessions set ended_at = $2, end_reason = $3
         where id in (
           select id from identity.sessions
           where user_id = $1 and ended_at is null and expires_at > $2
           order by id desc offset $4) and ended_at is null
         returning id, tenant_id",
        *user,
        now as _,
        reason,
        stay,
    )
    .fetch_all(tx.db())
    .await?;
    for session in ended {
        tell(tx, session.id, user, session.tenant_id, reason).await?;
    }
    Ok(())
}

async fn tell(
    tx: &mut AccountTx,
    id: SessionId,
    user: UserId,
    tenant: Option<TenantId>,
    reason: &'static str,
) -> Result<()> {
    let home = match tenant {
        Some(tenant) => tenant,
        None => directory::platform_tenant(tx).await?,
    };
    tx.emit(home, SessionRevoked { user_id: user, session_id: id, reason }).await?;
    tx.announce(Change::of("session", &id));
    Ok(())
}
