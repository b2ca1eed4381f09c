//! `DELETE /users/{id}`: a person leaves a tenant, and everything of theirs in it stops working.

use freehold_kernel::{
    Change, Event, NoContent, Path, Principal, Result, Routes, SystemRole, Tx, UserId, endpoint,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::members::Member;
use crate::session::{SessionId, SessionRevoked};
use crate::{api_keys, grants, members, owners, principal};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/users")
        .delete("/{id}", "users:delete", remove_user)
        .recent_when("the person holds a role that allows `users:transfer`, as Owner does")
}

/// A person was removed from the tenant; their account and their other tenants stay.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserDeleted)]
#[event(type = "user.deleted", subject = user_id)]
pub(crate) struct UserDeleted {
    /// The person.
    user_id: UserId,
    /// Their address.
    #[personal]
    #[schema(example = "ada@example.org")]
    email: String,
    /// What they were called.
    #[personal]
    #[schema(example = "Ada Lovelace")]
    name: String,
}

/// Remove a person from the tenant. Sessions that act here and their own API keys end at once.
///
/// `GET /api-keys?userId=` lists the keys that will die; service accounts stay. Only for those who
/// may do all that the person may. The last owner cannot go.
#[endpoint("identity.outranks_you", "identity.last_owner")]
async fn remove_user(Path(id): Path<UserId>, mut tx: Tx) -> Result<NoContent> {
    owners::hold(&mut tx, id).await?;
    let member = members::find(&mut tx, id).await?;
    grants::check_taken(&mut tx, &member.role_ids).await?;
    remove(&mut tx, member).await?;
    Ok(NoContent)
}

/// Takes a member out of the tenant, once it is clear that they may be.
///
/// # Errors
/// 409 for the last owner.
pub(crate) async fn remove(tx: &mut Tx, member: Member) -> Result<()> {
    let (tenant, id) = (tx.tenant(), member.id);
    // The row stays, so that what they did keeps their name.
    sqlx::query!(
        "update core.memberships set status = 'removed' where tenant_id = $1 and user_id = $2",
        *tenant,
        *id,
    )
    .execute(tx.db())
    .await?;
    sqlx::query!(
        "delete from core.role_assignments where tenant_id = $1 and user_id = $2",
        *tenant,
        *id,
    )
    .execute(tx.db())
    .await?;
    if member.role_ids.contains(&SystemRole::Owner.id()) {
        owners::check_one_stays(tx).await?;
    }
    api_keys::remove_all(tx, Principal::User(id)).await?;
    end_sessions(tx, id).await?;
    tx.emit(UserDeleted { user_id: id, email: member.email, name: member.name }).await?;
    tx.announce(Change::of("principal", &principal::subject(tenant, Principal::User(id))));
    Ok(())
}

/// Sessions span tenants: those that act elsewhere go on.
async fn end_sessions(tx: &mut Tx, user: UserId) -> Result<()> {
    let now = tx.real_now();
    let ended = sqlx::query_scalar!(
        r#"select identity.end_stay($1, $2) as "session!: SessionId""#,
        *user,
        now as _,
    )
    .fetch_all(tx.db())
    .await?;
    for session in ended {
        tx.emit(SessionRevoked { user_id: user, session_id: session, reason: "removed" }).await?;
        tx.announce(Change::of("session", &session));
    }
    Ok(())
}
