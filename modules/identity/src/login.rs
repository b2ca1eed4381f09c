//! `POST /auth/login`.

use std::sync::Arc;

use freehold_kernel::{
    AccountTx, Cx, Error, Json, PUBLIC, Result, Routes, State, TenantId, Timestamp, UserId,
    endpoint,
};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::email;
use crate::known_device::KnownDevice;
use crate::lockout::{Counter, Failure};
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
    /// What an earlier sign-in on this device answered as `deviceToken`. One that is not good any
    /// more is a stranger's, and no reason to refuse.
    #[garde(inner(length(chars, max = 256)))]
    #[schema(
        example = "fhd_AQGOVvdVNXu8rLmoQZ3hRrEBjlb3VTV7vKy5qEGd4UaxAAABm2jQAAA",
        max_length = 256
    )]
    device_token: Option<String>,
}

/// A person who may be signing in.
struct Candidate {
    id: UserId,
    active: bool,
    hash: Option<String>,
    password_changed_at: Option<Timestamp>,
}

/// Sign in with e-mail and password.
///
/// An unknown address and a wrong password are answered alike, in the same time. After five failed
/// tries for one address, further ones from unknown devices are refused for 30 minutes, be they
/// right or wrong; a device that signed in before (`deviceToken`) has five of its own.
#[endpoint(
    "identity.invalid_credentials",
    "identity.locked",
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
    let mut tx = cx.account_tx().await?;
    let candidate = find(&mut tx, &login.email).await?;
    let known = known_device(&cx, &login, candidate.as_ref());
    let keyring = cx.app().keyring();
    let failures = match known {
        Some(known) => Counter::of_device(keyring, known)?,
        None => Counter::of_strangers(keyring, &login.email)?,
    };
    failures.check(&mut tx).await?;
    // The look-up ends before hashing begins: nobody waits for a CPU while holding a connection.
    drop(tx);
    let hash = candidate.as_ref().and_then(|candidate| candidate.hash.clone());
    let right = hasher.verify(&login.password, hash).await?;

    let mut tx = cx.account_tx().await?;
    let person = match candidate.as_ref().filter(|_| right) {
        Some(person) if still_holds(&mut tx, person).await? => person.id,
        _ => {
            let person = candidate.map(|person| person.id);
            let failure = Failure { person, method: "password", email: login.email };
            failures.fail(&mut tx, failure).await?;
            tx.commit().await?;
            return Err(Error::unauthenticated(
                "identity.invalid_credentials",
                "E-mail or password is wrong.",
            ));
        }
    };
    failures.clear(&mut tx).await?;
    let tenant = choose_tenant(&mut tx, person, login.tenant_id).await?;
    let signed_in = session::open(&cx, &mut tx, &keys, person, tenant, "password", known).await?;
    tx.commit().await?;
    Ok(Json(signed_in))
}

async fn find(tx: &mut AccountTx, email: &str) -> Result<Option<Candidate>> {
    let candidate = sqlx::query_as!(
        Candidate,
        r#"select u.id, u.status = 'active' as "active!", p.hash as "hash?",
             p.changed_at as "password_changed_at?"
           from core.users u left join identity.passwords p on p.user_id = u.id
           where u.email_normalised = $1"#,
        email::normalise(email),
    )
    .fetch_optional(tx.db())
    .await?;
    Ok(candidate)
}

/// The device, if the person signed in on it before.
fn known_device(cx: &Cx, asked: &Login, candidate: Option<&Candidate>) -> Option<KnownDevice> {
    let person = candidate?;
    let known = KnownDevice::read(asked.device_token.as_deref()?, cx.app().keyring())?;
    let changed_at = person.password_changed_at?;
    known.stands_for(person.id, changed_at, cx.real_now()).then_some(known)
}

/// Whether the person may come in with the password that was just verified. It is locked until the
/// session is there, so that changing it either waits and ends that session, or came first.
async fn still_holds(tx: &mut AccountTx, person: &Candidate) -> Result<bool> {
    let same = sqlx::query_scalar!(
        "select user_id from identity.passwords where user_id = $1 and hash = $2 for share",
        *person.id,
        person.hash,
    )
    .fetch_optional(tx.db())
    .await?;
    Ok(same.is_some() && person.active)
}

/// The tenant that was asked for, if the person is in it; else the one used last.
async fn choose_tenant(
    tx: &mut AccountTx,
    person: UserId,
    asked: Option<TenantId>,
) -> Result<Option<TenantId>> {
    let tenants = session::tenants_of(tx, person).await?;
    let chosen = match asked {
        Some(asked) => Some(tenants.iter().find(|t| t.id == asked).ok_or_else(Error::not_found)?),
        None => tenants.first(),
    };
    Ok(chosen.map(|tenant| tenant.id))
}
