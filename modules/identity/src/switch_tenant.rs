//! `POST /auth/switch-tenant`: the same person and session, in another of their tenants.

use freehold_kernel::{
    Cx, Error, Json, Principal, Result, Routes, SIGNED_IN, State, TenantId, endpoint,
};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::refresh_token::RefreshToken;
use crate::session::{self, SessionId, SignedIn};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").post("/switch-tenant", SIGNED_IN, switch_tenant)
}

/// Where to go.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::SwitchTenant)]
struct SwitchTenant {
    /// One of the tenants the person is in.
    #[garde(skip)]
    tenant_id: TenantId,
}

/// Act in another tenant: answers a new access token; the refresh token stays as it is.
#[endpoint("identity.not_a_session", "identity.session_ended", "core.not_found")]
async fn switch_tenant(
    cx: Cx,
    State(keys): State<SharedKeys>,
    Json(to): Json<SwitchTenant>,
) -> Result<Json<SignedIn>> {
    let actor = cx.signed_in()?;
    let (Ok(session), Principal::User(user)) =
        (actor.credential.parse::<SessionId>(), actor.principal)
    else {
        return Err(Error::forbidden("identity.not_a_session", "A key belongs to one tenant."));
    };
    let mut tx = cx.account_tx().await?;
    let tenants = session::tenants_of(&mut tx, user).await?;
    if !tenants.iter().any(|known| known.id == to.tenant_id) {
        return Err(Error::not_found());
    }
    let row = sqlx::query!(
        r#"update identity.sessions set tenant_id = $2 where id = $1 and ended_at is null
           returning generation, coalesce(stepped_up_at, created_at) as "authenticated_at!""#,
        *session,
        *to.tenant_id,
    )
    .fetch_optional(tx.db())
    .await?
    .ok_or_else(|| Error::unauthenticated("identity.session_ended", "This session has ended."))?;
    let token = RefreshToken { session, generation: row.generation };
    let tenant = Some(to.tenant_id);
    let signed_in =
        session::answer(&cx, &mut tx, &keys, user, tenant, token, row.authenticated_at).await?;
    tx.commit().await?;
    Ok(Json(signed_in.without_refresh_token()))
}
