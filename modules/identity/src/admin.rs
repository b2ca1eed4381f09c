//! What `freehold admin` does at the command line of an installation: who its operators are, and
//! where a person is signed in. Whoever can read the secret key needs no permission for it; every
//! change is an event of the tenant concerned all the same, with the system as actor.

use std::sync::Arc;

use freehold_kernel::{
    AccountTx, App, Change, Db, Error, Kind, Principal, Result, SystemRole, TenantId, Timestamp,
    Tx, UserId, directory,
};
use garde::Validate;

use crate::members::UserRoleChanged;
use crate::password::Hasher;
use crate::registration::{UserCreated, create_user};
use crate::{email, member_removal, members, principal, revocation};

/// Somebody who runs the installation.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Who.
    pub id: UserId,
    /// The address to sign in with.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Since when they are a member of the platform.
    pub since: Timestamp,
}

/// What became of somebody who was to be an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// They are one now, and have a new account with the password that was given.
    New,
    /// They are one now, with the account and the password they had.
    Known,
    /// They were one before.
    Already,
}

/// Makes somebody an operator; `password` is for whoever has no account yet.
///
/// # Errors
/// 422 for what is no address; when the database fails.
pub async fn add_operator(
    app: &Arc<App>,
    address: &str,
    name: &str,
    password: &str,
) -> Result<Added> {
    Address { email: address }
        .validate()
        .map_err(|_| Error::invalid("/email", "identity.email", "this is no e-mail address"))?;
    // Before the transaction: hashing takes long.
    let hash = Hasher::default().hash(password).await?;
    let mut tx = app.account_tx().await?;
    hold_operators(tx.db()).await?;
    let platform = directory::platform_tenant(&mut tx).await?;
    let (user, added) = match find_user(&mut tx, address).await {
        Ok(user) => (user, Added::Known),
        Err(error) if error.kind() == Kind::NotFound => {
            let user = create_user(&mut tx, address, name, &hash).await?;
            let created = UserCreated { user_id: user, email: address.to_owned() };
            tx.emit(platform, created).await?;
            (user, Added::New)
        }
        Err(error) => return Err(error),
    };
    if !give_role(&mut tx, platform, user).await? {
        return Ok(Added::Already);
    }
    let role = SystemRole::Operator.id();
    let changed = UserRoleChanged {
        user_id: user,
        role_ids: vec![role],
        added: vec![role],
        removed: Vec::new(),
    };
    tx.emit(platform, changed).await?;
    tx.announce(Change::of("principal", &principal::subject(platform, Principal::User(user))));
    tx.commit().await?;
    Ok(added)
}

/// Everybody who is an operator, the first one first.
///
/// # Errors
/// When the database fails.
pub async fn list_operators(app: &Arc<App>) -> Result<Vec<Operator>> {
    let mut tx = app.account_tx().await?;
    let platform = directory::platform_tenant(&mut tx).await?;
    let all = operators(tx.db(), platform).await?;
    tx.commit().await?;
    Ok(all)
}

/// Takes somebody out of the platform: their sessions and keys there end at once. Their account and
/// their other tenants stay.
///
/// # Errors
/// 404 for whoever is no operator; 409 for the last one.
pub async fn remove_operator(app: &Arc<App>, address: &str) -> Result<()> {
    let mut tx = app.account_tx().await?;
    let platform = directory::platform_tenant(&mut tx).await?;
    tx.commit().await?;
    let mut tx = app.tenant_tx(platform).await?;
    match removable(&mut tx, address).await {
        Ok(operator) => {
            let member = members::find(&mut tx, operator).await?;
            member_removal::remove(&mut tx, member).await?;
            tx.commit().await
        }
        Err(refusal) => {
            // Nothing was written; this only lets go of what is held.
            tx.commit().await?;
            Err(refusal)
        }
    }
}

/// The operator of this address, if another one stays.
async fn removable(tx: &mut Tx, address: &str) -> Result<UserId> {
    let platform = tx.tenant();
    hold_operators(tx.db()).await?;
    let all = operators(tx.db(), platform).await?;
    let wanted = email::normalise(address);
    let found = all.iter().find(|operator| email::normalise(&operator.email) == wanted);
    let operator = found.ok_or_else(Error::not_found)?;
    if all.len() == 1 {
        return Err(Error::conflict(
            "identity.last_operator",
            "This is the last operator; add another one first.",
        ));
    }
    Ok(operator.id)
}

/// Ends every session of a person, in all their tenants; says how many there were.
///
/// # Errors
/// 404 for an address that nobody has.
pub async fn revoke_sessions(app: &Arc<App>, address: &str) -> Result<usize> {
    let mut tx = app.account_tx().await?;
    let user = find_user(&mut tx, address).await?;
    let ended = revocation::end_all(&mut tx, user, None, "operator").await?;
    tx.commit().await?;
    Ok(ended)
}

#[derive(Validate)]
struct Address<'a> {
    #[garde(email, custom(check))]
    email: &'a str,
}

fn check(address: &&str, context: &()) -> garde::Result {
    email::check(address, context)
}

/// Two who change operators at once wait for each other: one must always stay.
async fn hold_operators(db: &mut Db) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(7235410003)").execute(db).await?;
    Ok(())
}

async fn find_user(tx: &mut AccountTx, address: &str) -> Result<UserId> {
    let id = sqlx::query_scalar!(
        r#"select id as "id: UserId" from core.users where email_normalised = $1"#,
        email::normalise(address),
    )
    .fetch_one(tx.db())
    .await?;
    Ok(id)
}

/// Makes a person a member of the platform with the operators' role; says whether they were not.
async fn give_role(tx: &mut AccountTx, platform: TenantId, user: UserId) -> Result<bool> {
    let is_member = sqlx::query_scalar!(
        r#"select exists (
             select from core.memberships
             where tenant_id = $1 and user_id = $2 and status = 'active'
           ) as "is_member!""#,
        *platform,
        *user,
    )
    .fetch_one(tx.db())
    .await?;
    if !is_member {
        directory::add_member(tx, platform, user, SystemRole::Operator).await?;
        return Ok(true);
    }
    let given = sqlx::query!(
        "insert into core.role_assignments (tenant_id, id, user_id, role_id)
         values ($1, $2, $3, $4) on conflict on constraint role_assignments_once do nothing",
        *platform,
        uuid::Uuid::now_v7(),
        *user,
        *SystemRole::Operator.id(),
    )
    .execute(tx.db())
    .await?;
    Ok(given.rows_affected() > 0)
}

async fn operators(db: &mut Db, platform: TenantId) -> Result<Vec<Operator>> {
    let found = sqlx::query_as!(
        Operator,
        r#"select m.user_id as "id: UserId", m.email, m.name, m.created_at as since
           from core.memberships m
           where m.tenant_id = $1 and m.status = 'active' and exists (
             select from core.role_assignments a
             where a.tenant_id = $1 and a.user_id = m.user_id and a.role_id = $2
           )
           order by m.created_at, m.user_id"#,
        *platform,
        *SystemRole::Operator.id(),
    )
    .fetch_all(db)
    .await?;
    Ok(found)
}
