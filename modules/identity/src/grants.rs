//! Nobody grants what they lack, and nobody takes away from those who may do more than they. What
//! makes somebody an owner, only a person who has just proved that it is them gives or takes.

use std::collections::HashMap;

use freehold_kernel::{Actor, Error, Permissions, Result, RoleId, SystemRole, Tx};

use crate::permissions::is_offered;
use crate::principal;

/// Whoever may do this may do everything in the tenant, whatever their role is called.
const OWNERSHIP: &str = "users:transfer";

/// Roles that somebody gives, at `pointer` (`{}` is the place in the list): each must be one of this tenant and allow no more
/// than the caller may do. Those held already are nobody's gift and may stay whatever they allow.
/// Custom ones stay as they are until this transaction ends.
///
/// # Errors
/// 422 for an unknown role, 403 for one that allows too much, and for one that makes an owner
/// without a recent proof.
pub(crate) async fn check_given(
    tx: &mut Tx,
    pointer: &str,
    wanted: &[RoleId],
    held: &[RoleId],
) -> Result<()> {
    let custom = custom_roles(tx, wanted).await?;
    let actor = tx.actor()?;
    for (place, id) in wanted.iter().enumerate().filter(|(_, id)| !held.contains(id)) {
        let allows = match SystemRole::from_id(*id) {
            // Operators are made by the installation's settings.
            Some(SystemRole::Operator) => None,
            Some(role) => Some(tx.app().permissions_of(&[role])),
            None => custom.get(id).map(|names| principal::permissions_of(tx.app(), &[], names)),
        };
        let unknown = || {
            let pointer = pointer.replace("{}", &place.to_string());
            Error::invalid(pointer, "identity.unknown_role", "no role of this tenant")
        };
        let allows = allows.ok_or_else(unknown)?;
        if let Some(lacking) = beyond(actor, &allows) {
            return Err(Error::forbidden(
                "identity.grants_too_much",
                format!("This role allows {lacking}, which you may not do yourself."),
            ));
        }
        check_ownership(tx, &allows)?;
    }
    Ok(())
}

/// Roles that somebody takes away from their holder.
///
/// # Errors
/// 403 when they allow more than the caller may do.
pub(crate) async fn check_taken(tx: &mut Tx, roles: &[RoleId]) -> Result<()> {
    let custom: Vec<String> = custom_roles(tx, roles).await?.into_values().flatten().collect();
    let ids: Vec<_> = roles.iter().map(|id| **id).collect();
    let allows = principal::permissions_of(tx.app(), &ids, &custom);
    check_power_over(tx, &allows)?;
    check_ownership(tx, &allows)
}

/// Something that allows `allows` is given or taken away.
///
/// # Errors
/// 403 `core.step_up_required` when that makes or unmakes an owner, unless by a person who proved
/// within the last five minutes that it is them.
pub(crate) fn check_ownership(tx: &Tx, allows: &Permissions) -> Result<()> {
    if allows.allow(OWNERSHIP) { tx.actor()?.check_recent(tx.real_now()) } else { Ok(()) }
}

/// Something that allows `allows` is changed or taken away.
///
/// # Errors
/// 403 when that is more than the caller may do.
pub(crate) fn check_power_over(tx: &Tx, allows: &Permissions) -> Result<()> {
    match beyond(tx.actor()?, allows) {
        None => Ok(()),
        Some(lacking) => Err(Error::forbidden(
            "identity.outranks_you",
            format!("Whoever holds this may do {lacking}, which you may not do yourself."),
        )),
    }
}

/// Permissions that somebody writes into a role or a key, at `pointer`.
///
/// # Errors
/// 422 for a name that nobody declared, 403 for what the caller lacks, and for what makes an owner
/// without a recent proof.
pub(crate) fn check_named(tx: &Tx, names: &[String], pointer: &str) -> Result<()> {
    let actor = tx.actor()?;
    for (place, name) in names.iter().enumerate() {
        if !is_offered(tx.app(), name) {
            return Err(Error::invalid(
                format!("{pointer}/{place}"),
                "identity.unknown_permission",
                "no permission has this name; GET /api/v1/permissions lists them",
            ));
        }
        if !actor.permissions.allow(name) {
            return Err(Error::forbidden(
                "identity.grants_too_much",
                format!("You may not give {name}, because you do not have it."),
            ));
        }
    }
    check_ownership(tx, &names.iter().cloned().collect())
}

/// The first permission in the set that the actor lacks.
fn beyond<'a>(actor: &Actor, allows: &'a Permissions) -> Option<&'a str> {
    allows.iter().find(|name| !actor.permissions.allow(name))
}

/// What the custom ones among these roles allow. Nobody changes or removes them meanwhile.
async fn custom_roles(tx: &mut Tx, roles: &[RoleId]) -> Result<HashMap<RoleId, Vec<String>>> {
    let (tenant, ids) = (tx.tenant(), roles.iter().map(|id| **id).collect::<Vec<_>>());
    let rows = sqlx::query!(
        r#"select id as "id: RoleId", permissions from identity.roles
           where tenant_id = $1 and id = any ($2) order by id for share"#,
        *tenant,
        &ids,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.permissions)).collect())
}
