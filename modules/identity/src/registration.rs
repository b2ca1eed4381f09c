//! `POST /auth/register`: a new person, their tenant, and their first session, in one transaction.

use std::sync::Arc;

use freehold_kernel::directory::{self, NewTenant, TenantKind};
use freehold_kernel::{
    AccountTx, Created, Cx, Error, Event, Json, OnConstraint, PUBLIC, Result, Routes, State,
    SystemRole, TenantId, UserId, endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::password::Hasher;
use crate::session::{self, SignedIn};
use crate::turns::Caller;
use crate::{Registration, email};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").post("/register", PUBLIC, register)
}

/// Who registers.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::Register)]
struct Register {
    /// The address to sign in with.
    #[garde(email, custom(email::check))]
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    /// 12 to 256 characters with lower and upper case, a digit and another character; hard to guess.
    #[garde(skip)]
    #[schema(example = "tarn-Kelp7-obverse", min_length = 12, max_length = 256)]
    password: String,
    /// What to call the person.
    #[garde(length(chars, max = 200), custom(rules::readable))]
    #[schema(example = "Ada Lovelace", format = "name", max_length = 200)]
    name: String,
    /// What to call the tenant; the person's name when absent.
    #[garde(inner(length(chars, max = 200), custom(rules::readable)))]
    #[schema(example = "Analytical Engines", format = "name", max_length = 200)]
    tenant_name: Option<String>,
    /// The tenant's name in URLs, 3 to 40 of `a-z0-9-`; made from its name when absent.
    #[garde(skip)]
    #[schema(example = "analytical-engines", format = "slug")]
    tenant_slug: Option<String>,
}

/// Somebody registered.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserCreated)]
#[event(type = "user.created", subject = user_id)]
pub(crate) struct UserCreated {
    /// The person.
    pub(crate) user_id: UserId,
    /// Their address.
    #[personal]
    #[schema(example = "ada@example.org")]
    pub(crate) email: String,
}

/// Register: makes a person, a tenant they own, and a session.
///
/// In open registration a known e-mail is answered 409, so whether an address is registered can be
/// found out; installations that mind use verified registration.
#[endpoint(
    "identity.email_taken",
    "identity.registration_closed",
    "identity.hashing_busy",
    "core.slug_taken"
)]
async fn register(
    cx: Cx,
    State(registration): State<Registration>,
    State(hasher): State<Arc<Hasher>>,
    State(keys): State<SharedKeys>,
    Json(new): Json<Register>,
) -> Result<Created<SignedIn>> {
    if registration == Registration::Verified {
        return Err(Error::unavailable(
            "identity.registration_closed",
            "Registration by e-mail link needs a mailer, and none is set up.",
            3600,
        ));
    }
    let tenant_name = new.tenant_name.as_deref().unwrap_or(&new.name);
    if let Some(slug) = &new.tenant_slug {
        directory::check_slug(slug, "/tenantSlug")?;
    }
    let known = vec![new.email.clone(), new.name.clone(), tenant_name.to_owned()];
    let hash = hasher.hash_chosen(Caller::Stranger, &new.password, known, "/password").await?;

    let mut tx = cx.account_tx().await?;
    let user = create_user(&mut tx, &new.email, &new.name, &hash).await?;
    // Who they are is known from here on; what they may do follows with the session.
    let tenant = create_tenant(&mut tx, tenant_name, new.tenant_slug.as_deref()).await?;
    directory::add_member(&mut tx, tenant, user, SystemRole::Owner).await?;
    tx.emit(tenant, UserCreated { user_id: user, email: new.email }).await?;
    let signed_in =
        session::open(&cx, &mut tx, &keys, user, Some(tenant), "password", None).await?;
    tx.commit().await?;
    Ok(Created(signed_in))
}

/// Inserts a person and their password.
pub(crate) async fn create_user(
    tx: &mut AccountTx,
    email: &str,
    name: &str,
    hash: &str,
) -> Result<UserId> {
    let (user, now) = (UserId::new(), tx.real_now());
    sqlx::query!(
        "insert into core.users (id, email, email_normalised, name, created_at)
         values ($1, $2, $3, $4, $5)",
        *user,
        email,
        email::normalise(email),
        name,
        now as _,
    )
    .execute(tx.db())
    .await
    .on_constraint("users_email_key", || {
        Error::conflict("identity.email_taken", "Somebody registered with this e-mail already.")
    })?;
    sqlx::query!(
        "insert into identity.passwords (user_id, hash, changed_at) values ($1, $2, $3)",
        *user,
        hash,
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(user)
}

/// Under the slug that was asked for, or one made from the name with a random ending.
async fn create_tenant(tx: &mut AccountTx, name: &str, slug: Option<&str>) -> Result<TenantId> {
    let made;
    let slug = match slug {
        Some(slug) => slug,
        None => {
            made = slug_from(name, &hex::encode(freehold_kernel::crypto::random::<4>()?));
            &made
        }
    };
    directory::create_tenant(tx, &NewTenant { name, slug, kind: TenantKind::Live }).await
}

fn slug_from(name: &str, ending: &str) -> String {
    let words = name.to_lowercase();
    let words: Vec<&str> =
        words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let base: String = words.join("-").chars().take(30).collect();
    let base = base.trim_end_matches('-');
    if base.is_empty() { format!("t-{ending}") } else { format!("{base}-{ending}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_made_from_any_name_is_a_good_slug() {
        for name in ["Acme Ltd.", "Ünïcode GmbH & Co", "日本", &"long ".repeat(40), "-", "a"] {
            let slug = slug_from(name, "0a1b2c3d");
            assert!(directory::check_slug(&slug, "").is_ok(), "{name}: {slug}");
        }
    }
}
