//! A tenant always has an owner, also when two leave at once.

use freehold_kernel::{Error, Result, SystemRole, Tx, UserId};

/// Holds a member and all owners until this transaction ends, in one order, so that whoever
/// changes who owns the tenant waits for whoever is doing so.
pub(crate) async fn hold(tx: &mut Tx, member: UserId) -> Result<()> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select m.user_id from core.memberships m
         where m.tenant_id = $1 and m.status = 'active' and (m.user_id = $2 or exists (
           select from core.role_assignments a
           where a.tenant_id = $1 and a.user_id = m.user_id and a.role_id = $3
         ))
         order by m.user_id for no key update of m",
        *tenant,
        *member,
        *SystemRole::Owner.id(),
    )
    .fetch_all(tx.db())
    .await?;
    Ok(())
}

/// Somebody has just stopped being an owner.
///
/// # Errors
/// 409 when they were the last.
pub(crate) async fn check_one_stays(tx: &mut Tx) -> Result<()> {
    let tenant = tx.tenant();
    let is_owned = sqlx::query_scalar!(
        r#"select exists (
             select from core.role_assignments a
             join core.memberships m on m.tenant_id = a.tenant_id and m.user_id = a.user_id
             where a.tenant_id = $1 and a.role_id = $2 and a.outlet_id is null
               and m.status = 'active'
           ) as "is_owned!""#,
        *tenant,
        *SystemRole::Owner.id(),
    )
    .fetch_one(tx.db())
    .await?;
    if is_owned {
        return Ok(());
    }
    Err(Error::conflict(
        "identity.last_owner",
        "This is the last owner; make somebody else an owner first.",
    ))
}
