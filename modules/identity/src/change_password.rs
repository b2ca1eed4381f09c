//! `POST /auth/change-password`.

use std::sync::Arc;

use freehold_kernel::{
    AccountTx, Cx, Error, Event, Json, Result, Routes, SIGNED_IN, State, UserId, directory,
    endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::flood::Flood;
use crate::known_device::KnownDevice;
use crate::password::{self, Hasher};
use crate::reauthentication::{Reauthenticated, reauthenticate};
use crate::turns::Caller;
use crate::{revocation, session};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").post("/change-password", SIGNED_IN, change_password)
}

/// From which password to which.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::ChangePassword)]
struct ChangePassword {
    /// The password until now.
    #[garde(length(chars, max = 256))]
    #[schema(example = "tarn-Kelp7-obverse", max_length = 256)]
    current_password: String,
    /// 12 to 256 characters with lower and upper case, a digit and another character; hard to guess.
    #[garde(skip)]
    #[schema(example = "gorse-Lamp4-tundra", min_length = 12, max_length = 256)]
    new_password: String,
}

/// What remains of the sign-ins with the earlier password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::PasswordChanged)]
struct PasswordChanged {
    /// Names this device at the next sign-in; those given before the change name nothing any more.
    #[schema(example = "fhd_AQGOVvdVNXu8rLmoQZ3hRrEBjlb3VTV7vKy5qEGd4UaxAAABm2jQAAA")]
    device_token: String,
}

/// A person changed their password.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserPasswordChanged)]
#[event(type = "user.password_changed", subject = user_id)]
pub(crate) struct UserPasswordChanged {
    /// The person.
    user_id: UserId,
}

/// Change my password: every other session of mine ends, this one stays.
///
/// After five wrong passwords the session is not asked again for 30 minutes.
#[endpoint(
    "identity.not_a_session",
    "identity.hashing_busy",
    "identity.locked",
    "identity.password_changed_meanwhile"
)]
async fn change_password(
    cx: Cx,
    State(hasher): State<Arc<Hasher>>,
    State(flood): State<Arc<Flood>>,
    Json(change): Json<ChangePassword>,
) -> Result<Json<PasswordChanged>> {
    let (current, new) = (&change.current_password, &change.new_password);
    let proved = reauthenticate(&cx, &hasher, &flood, current, "/currentPassword").await?;
    if password::are_same(current, new) {
        return Err(Error::invalid(
            "/newPassword",
            "identity.password_unchanged",
            "another one than the current password",
        ));
    }
    let known = known_of(&cx, &proved).await?;
    let hash = hasher.hash_chosen(Caller::Known, new, known, "/newPassword").await?;

    let mut tx = cx.account_tx().await?;
    proved.failures.clear(&mut tx).await?;
    replace(&mut tx, &proved, &hash).await?;
    // After the hash is replaced: a sign-in with the earlier password has opened its session by
    // now, or finds that the password has changed (see login.rs).
    revocation::end_all(&mut tx, proved.user, Some(proved.session), "password_changed").await?;
    record(&mut tx, proved.user).await?;
    let device = KnownDevice::of(proved.user, None, tx.real_now());
    tx.commit().await?;
    Ok(Json(PasswordChanged { device_token: device.write(cx.app().keyring())? }))
}

/// What anybody may know about the person, and so no good password.
async fn known_of(cx: &Cx, person: &Reauthenticated) -> Result<Vec<String>> {
    let mut tx = cx.account_tx().await?;
    let tenants = session::tenants_of(&mut tx, person.user).await?;
    let own = [person.email.clone(), person.name.clone()];
    Ok(own.into_iter().chain(tenants.into_iter().map(|tenant| tenant.name)).collect())
}

async fn replace(tx: &mut AccountTx, proved: &Reauthenticated, hash: &str) -> Result<()> {
    let now = tx.real_now();
    let replaced = sqlx::query!(
        "update identity.passwords set hash = $3, changed_at = $4
         where user_id = $1 and hash = $2",
        *proved.user,
        proved.hash,
        hash,
        now as _,
    )
    .execute(tx.db())
    .await?;
    if replaced.rows_affected() == 0 {
        return Err(Error::conflict(
            "identity.password_changed_meanwhile",
            "Your password was changed a moment ago, by somebody else or on another device.",
        ));
    }
    Ok(())
}

/// In every tenant the person is in; what concerns nobody's tenant is the platform's.
async fn record(tx: &mut AccountTx, user: UserId) -> Result<()> {
    let mut homes: Vec<_> =
        session::tenants_of(tx, user).await?.into_iter().map(|tenant| tenant.id).collect();
    if homes.is_empty() {
        homes.push(directory::platform_tenant(tx).await?);
    }
    for home in homes {
        tx.emit(home, UserPasswordChanged { user_id: user }).await?;
    }
    Ok(())
}
