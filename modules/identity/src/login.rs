//! `POST /auth/login`.

use std::sync::Arc;

use freehold_kernel::{
    AccountTx, Cx, Error, Event, Json, PUBLIC, Result, Routes, State, TenantId, UserId, directory,
    endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::email;
use crate::password::Hasher;
use crate::session::{self, SignedIn};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").post("/login", PUBLIC, login)
}

/// Who signs in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::Login)]
struct Login {
    /// The address they registered with; case does not matter.
    #[garde(custom(email::check))]
    #[schema(example = "ada@example.org", max_length = 254)]
    email: String,
    /// Their password.
    #[garde(length(chars, max = 256))]
    #[schema(example = "tarn-Kelp7-obverse", max_length = 256)]
    password: String,
    /// The tenant to act in; the one used last when absent.
    #[garde(skip)]
    tenant_id: Option<TenantId>,
}

/// Somebody tried to sign in and failed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::AuthFailed)]
#[event(type = "auth.failed", subject = subject)]
pub(crate) struct AuthFailed {
    /// The person whose address was used, or `unknown`.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    pub(crate) subject: String,
    /// How they tried.
    #[schema(example = "password")]
    pub(crate) method: &'static str,
    /// The address as it was typed.
    #[personal]
    #[schema(example = "ada@example.org")]
    pub(crate) email: String,
}

/// A person who may be signing in.
struct Candidate {
    id: UserId,
    hash: Option<String>,
    active: bool,
}

/// Sign in with e-mail and password.
///
/// An unknown address and a wrong password are answered alike, in the same time.
#[endpoint(
    "identity.invalid_credentials",
    "identity.hashing_busy",
    "identity.tenant_not_active",
    "core.not_found"
)]
async fn login(
    cx: Cx,
    State(hasher): State<Arc<Hasher>>,
    State(keys): State<SharedKeys>,
    Json(login): Json<Login>,
) -> Result<Json<SignedIn>> {
    // The look-up ends before hashing begins: nobody waits for a CPU while holding a connection.
    let candidate = find(&mut cx.account_tx().await?, &login.email).await?;
    let hash = candidate.as_ref().and_then(|candidate| candidate.hash.clone());
    let right = hasher.verify(&login.password, hash).await?;

    let mut tx = cx.account_tx().await?;
    let Some(person) = candidate.as_ref().filter(|person| right && person.active) else {
        record_failure(&mut tx, candidate.as_ref(), login.email).await?;
        tx.commit().await?;
        return Err(Error::unauthenticated(
            "identity.invalid_credentials",
            "E-mail or password is wrong.",
        ));
    };
    let tenants = session::tenants_of(&mut tx, person.id).await?;
    let tenant = match login.tenant_id {
        Some(asked) => Some(tenants.iter().find(|t| t.id == asked).ok_or_else(Error::not_found)?),
        None => tenants.first(),
    };
    let tenant = tenant.map(|tenant| tenant.id);
    let signed_in = session::open(&cx, &mut tx, &keys, person.id, tenant, "password").await?;
    tx.commit().await?;
    Ok(Json(signed_in))
}

async fn find(tx: &mut AccountTx, email: &str) -> Result<Option<Candidate>> {
    let candidate = sqlx::query_as!(
        Candidate,
        r#"select u.id, p.hash as "hash?", u.status = 'active' as "active!"
           from core.users u left join identity.passwords p on p.user_id = u.id
           where u.email_normalised = $1"#,
        email::normalise(email),
    )
    .fetch_optional(tx.db())
    .await?;
    Ok(candidate)
}

/// In the tenant the person used last; what concerns nobody's tenant is the platform's.
async fn record_failure(
    tx: &mut AccountTx,
    candidate: Option<&Candidate>,
    email: String,
) -> Result<()> {
    let home = match candidate {
        Some(person) => session::tenants_of(tx, person.id).await?.first().map(|tenant| tenant.id),
        None => None,
    };
    let home = match home {
        Some(home) => home,
        None => directory::platform_tenant(tx).await?,
    };
    let subject =
        candidate.map_or_else(|| "unknown".to_owned(), |candidate| candidate.id.to_string());
    tx.emit(home, AuthFailed { subject, method: "password", email }).await?;
    Ok(())
}
