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
use crate::flood::Flood;
use crate::known_device::KnownDevice;
use crate::lockout::{Counter, Failure};
use crate::password::Hasher;
use crate::session::{self, SignedIn};
use crate::turns::Caller;

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
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
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

/// A try that may go on.
struct Try {
    candidate: Option<Candidate>,
    known: Option<KnownDevice>,
    failures: Counter,
}

/// Sign in with e-mail and password.
///
/// An unknown address and a wrong password are answered alike, in the same time. After five failed
/// tries for one address, further ones from unknown devices are refused for 30 minutes, be they
/// right or wrong; a device that signed in before (`deviceToken`) has five of its own. An address
/// from which too many tries fail, whomever they are about, waits as well, but for known devices.
#[endpoint(
    "identity.invalid_credentials",
    "identity.locked",
    "identity.too_many_failures",
    "identity.hashing_busy",
    "identity.tenant_not_active",
    "core.not_found"
)]
async fn login(
    cx: Cx,
    State(hasher): State<Arc<Hasher>>,
    State(flood): State<Arc<Flood>>,
    State(keys): State<SharedKeys>,
    Json(login): Json<Login>,
) -> Result<Json<SignedIn>> {
    let Try { candidate, known, failures } = admit(&cx, &hasher, &flood, &login).await?;
    // The look-up has ended before hashing begins: nobody waits for a CPU while holding a connection.
    let hash = candidate.as_ref().and_then(|candidate| candidate.hash.clone());
    let caller = if known.is_some() { Caller::Known } else { Caller::Stranger };
    let right = hasher.verify(caller, &login.password, hash).await?;

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
    if caller == Caller::Stranger {
        flood.give_back(cx.ip());
    }
    let tenant = choose_tenant(&mut tx, person, login.tenant_id).await?;
    let signed_in = session::open(&cx, &mut tx, &keys, person, tenant, "password", known).await?;
    tx.commit().await?;
    Ok(Json(signed_in))
}

/// Whatever may refuse a try before its password is looked at: first what costs nothing.
async fn admit(cx: &Cx, hasher: &Hasher, flood: &Flood, asked: &Login) -> Result<Try> {
    let keyring = cx.app().keyring();
    let strangers = Counter::of_strangers(keyring, &asked.email)?;
    let check_stranger = || {
        strangers.check_memory(flood, cx.real_now())?;
        flood.count(cx.ip())?;
        hasher.check_room()
    };
    let device = asked.device_token.as_deref().and_then(|text| KnownDevice::read(text, keyring));
    if device.is_none() {
        check_stranger()?;
    }
    let mut tx = cx.account_tx().await?;
    let candidate = find(&mut tx, &asked.email).await?;
    let known = device.filter(|device| is_known(cx, *device, candidate.as_ref()));
    if device.is_some() && known.is_none() {
        check_stranger()?;
    }
    let failures = match known {
        Some(known) => Counter::of_device(keyring, known)?,
        None => strangers,
    };
    failures.check(&mut tx, flood).await?;
    Ok(Try { candidate, known, failures })
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

/// Whether the person signed in on the device before.
fn is_known(cx: &Cx, device: KnownDevice, candidate: Option<&Candidate>) -> bool {
    let changed_at = |person: &Candidate| Some((person.id, person.password_changed_at?));
    candidate
        .and_then(changed_at)
        .is_some_and(|(person, changed_at)| device.stands_for(person, changed_at, cx.real_now()))
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
