//! `GET` and `PATCH /auth/me`: the caller about themselves.

use freehold_kernel::{
    Actor, Cx, Error, Event, Json, Patch, Principal, Result, Routes, SIGNED_IN, UserId, endpoint,
    rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api_keys::ApiKeyId;
use crate::session::{self, Person, TenantSummary};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").get("/me", SIGNED_IN, me).patch("/me", SIGNED_IN, update_me)
}

/// Who is asking, where, and what they may do.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::Me)]
struct Me {
    /// The person or service account, by id.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    principal: String,
    /// The person; null for a service account.
    user: Option<Person>,
    /// The tenant that this credential acts in.
    tenant: Option<TenantSummary>,
    /// Every tenant the person is in, last used first; with a key only the one it belongs to.
    tenants: Vec<TenantSummary>,
    /// What this credential may do in the tenant.
    #[schema(example = json!(["tenants:read"]))]
    permissions: Vec<String>,
}

/// What a person may change about themselves; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::UpdateMe)]
struct UpdateMe {
    /// What to be called.
    #[serde(default)]
    #[garde(inner(length(chars, max = 200), custom(rules::readable)))]
    #[schema(value_type = String, example = "Ada King", format = "name", max_length = 200)]
    name: Patch<String>,
    /// The language to read, BCP 47; null for the default.
    #[serde(default)]
    #[garde(inner(custom(rules::locale)))]
    #[schema(value_type = Option<String>, example = "en-GB", format = "locale")]
    locale: Patch<String>,
    /// The zone to live in, IANA; null for UTC.
    #[serde(default)]
    #[garde(inner(custom(rules::time_zone)))]
    #[schema(value_type = Option<String>, example = "Europe/London", format = "time-zone")]
    time_zone: Patch<String>,
}

/// A person changed something about themselves.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserUpdated)]
#[event(type = "user.updated", subject = user_id)]
pub(crate) struct UserUpdated {
    /// The person.
    pub(crate) user_id: UserId,
}

/// Who am I: the person, the tenant, the permissions of this credential.
#[endpoint]
async fn me(cx: Cx) -> Result<Json<Me>> {
    let actor = cx.signed_in()?;
    let mut tx = cx.account_tx().await?;
    let (user, tenants) = match actor.principal {
        Principal::User(id) => {
            (Some(session::person(&mut tx, id).await?), session::tenants_of(&mut tx, id).await?)
        }
        Principal::ServiceAccount(_) | Principal::Portal(_) | Principal::System => {
            (None, Vec::new())
        }
    };
    let tenants = tenants
        .into_iter()
        .filter(|known| !is_key(actor) || Some(known.id) == actor.tenant)
        .collect();
    Ok(Json(Me {
        principal: actor.principal.to_string(),
        user,
        tenant: match actor.tenant {
            Some(tenant) => Some(session::tenant(&mut tx, tenant).await?),
            None => None,
        },
        tenants,
        permissions: actor.permissions.iter().map(ToOwned::to_owned).collect(),
    }))
}

/// A key belongs to one tenant, and tells whoever holds it nothing of the person's others.
fn is_key(actor: &Actor) -> bool {
    actor.credential.parse::<ApiKeyId>().is_ok()
}

/// Change my name, language or time zone. Every tenant I am in sees the new name.
///
/// Only with a session: a key belongs to one tenant and has bounds, a name is seen in all of them.
#[endpoint("identity.not_a_person", "identity.not_a_session")]
async fn update_me(cx: Cx, Json(patch): Json<UpdateMe>) -> Result<Json<Person>> {
    let actor = cx.signed_in()?;
    let Principal::User(user) = actor.principal else {
        return Err(Error::forbidden("identity.not_a_person", "Only a person has a profile."));
    };
    if is_key(actor) {
        return Err(Error::forbidden("identity.not_a_session", "A key cannot change a profile."));
    }
    if patch.name == Patch::Clear {
        return Err(Error::invalid("/name", "core.required", "a person has a name"));
    }
    let mut tx = cx.account_tx().await?;
    // Two changes at once must not undo each other.
    sqlx::query!("select id from core.users where id = $1 for update", *user)
        .fetch_one(tx.db())
        .await?;
    let before = session::person(&mut tx, user).await?;
    let after = Person {
        name: patch.name.or_default(&before.name, ""),
        locale: patch.locale.or_default(&before.locale, "en"),
        time_zone: patch.time_zone.or_default(&before.time_zone, "UTC"),
        ..before.clone()
    };
    sqlx::query!(
        "update core.users set name = $2, locale = $3, time_zone = $4 where id = $1",
        *user,
        after.name,
        after.locale,
        after.time_zone,
    )
    .execute(tx.db())
    .await?;
    sqlx::query!(
        "-- tidy: across tenants because a person has one name in all of theirs
         update core.memberships m set name = $2
         from core.user_tenants u
         where u.user_id = $1 and m.tenant_id = u.tenant_id and m.user_id = $1",
        *user,
        after.name,
    )
    .execute(tx.db())
    .await?;
    for tenant in session::tenants_of(&mut tx, user).await? {
        tx.emit_change(tenant.id, UserUpdated { user_id: user }, &before, &after).await?;
    }
    tx.commit().await?;
    Ok(Json(after))
}
