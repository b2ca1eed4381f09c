//! `POST /auth/step-up`: proves again, within a session, who one is.

use std::sync::Arc;

use freehold_kernel::{Cx, Error, Json, Result, Routes, SIGNED_IN, State, endpoint};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::flood::Flood;
use crate::password::Hasher;
use crate::reauthentication::reauthenticate;
use crate::refresh_token::RefreshToken;
use crate::session::{self, SignedIn};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").post("/step-up", SIGNED_IN, step_up)
}

/// The proof.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::StepUp)]
struct StepUp {
    /// The caller's password.
    #[garde(length(chars, max = 256))]
    #[schema(example = "tarn-Kelp7-obverse", max_length = 256)]
    password: String,
}

/// Prove again who I am: answers an access token whose `auth_time` is now, and so are those of later
/// refreshes. The refresh token stays as it is.
///
/// After five wrong passwords the session is not asked again for 30 minutes.
#[endpoint(
    "identity.not_a_session",
    "identity.hashing_busy",
    "identity.locked",
    "identity.session_ended",
    "identity.tenant_not_active",
    "core.not_found"
)]
async fn step_up(
    cx: Cx,
    State(hasher): State<Arc<Hasher>>,
    State(flood): State<Arc<Flood>>,
    State(keys): State<SharedKeys>,
    Json(proof): Json<StepUp>,
) -> Result<Json<SignedIn>> {
    let proved = reauthenticate(&cx, &hasher, &flood, &proof.password, "/password").await?;
    let mut tx = cx.account_tx().await?;
    proved.failures.clear(&mut tx).await?;
    let now = cx.real_now();
    let generation = sqlx::query_scalar!(
        "update identity.sessions set stepped_up_at = $2
         where id = $1 and ended_at is null returning generation",
        *proved.session,
        now as _,
    )
    .fetch_optional(tx.db())
    .await?
    .ok_or_else(|| Error::unauthenticated("identity.session_ended", "This session has ended."))?;
    let token = RefreshToken { session: proved.session, generation };
    let tenant = cx.signed_in()?.tenant;
    let signed_in = session::answer(&cx, &mut tx, &keys, proved.user, tenant, token, now).await?;
    tx.commit().await?;
    Ok(Json(signed_in.without_refresh_token()))
}
