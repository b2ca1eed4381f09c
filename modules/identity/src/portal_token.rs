//! The tokens of portal links: JWTs like access tokens, under the same keys, with a type of their
//! own, so that neither is ever taken for the other. Kept nowhere: a link lives for as long as its
//! token says, and as long as whoever made it could make it again.

use freehold_kernel::{
    Cx, Error, Kind, Permissions, PortalLinkId, Principal, Result, ServiceAccountId, TenantId,
    Timestamp, UserId,
};
use serde::{Deserialize, Serialize};

use crate::access_token::{TokenKeys, invalid};
use crate::api_keys::ApiKeyId;
use crate::principal::{self, Standing};
use crate::session::SessionId;

/// What such a token calls itself.
pub(crate) const TYPE: &str = "portal+jwt";

/// What such a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PortalClaims {
    /// Issuer: the installation's public URL.
    pub(crate) iss: String,
    /// Audience: the portal of the same.
    pub(crate) aud: String,
    /// The link.
    pub(crate) sub: PortalLinkId,
    /// The tenant.
    pub(crate) tid: TenantId,
    /// Its customer, whose endpoints these are.
    pub(crate) customer: String,
    /// What the link allows at the most.
    pub(crate) permissions: Vec<String>,
    /// Who made it: a person or a service account.
    pub(crate) by: String,
    /// The API key that made it, if one did: the link dies with it.
    pub(crate) key: Option<ApiKeyId>,
    /// The session that made it, if one did. It may end: somebody's page must not die because
    /// somebody else signs out.
    pub(crate) sid: Option<SessionId>,
    /// Issued at, in seconds since 1970.
    pub(crate) iat: i64,
    /// Expires at, in seconds since 1970.
    pub(crate) exp: i64,
}

/// Whom such a token is for. Not whom access tokens are for: a program that reads those with our
/// published keys and looks at no type must not take a customer for one of the tenant's people.
pub(crate) fn audience(issuer: &str) -> String {
    format!("{issuer}/portal")
}

impl PortalClaims {
    /// Who made the link.
    pub(crate) fn creator(&self) -> Option<Principal> {
        let person = self.by.parse::<UserId>().ok().map(Principal::User);
        let program = || self.by.parse::<ServiceAccountId>().ok().map(Principal::ServiceAccount);
        person.or_else(program)
    }
}

/// The claims of a token that holds, and which key signed.
///
/// # Errors
/// 401 `identity.token_invalid` or `identity.token_expired`.
pub(crate) fn read(
    keys: &TokenKeys,
    token: &str,
    issuer: &str,
    now: Timestamp,
) -> Result<(PortalClaims, String)> {
    let (claims, kid) = keys.read_as::<PortalClaims>(TYPE, token, issuer, &audience(issuer))?;
    if claims.exp <= now.unix_seconds() {
        return Err(Error::unauthenticated(
            "identity.token_expired",
            "This link has expired; ask for another one.",
        ));
    }
    Ok((claims, kid))
}

/// What the holder of a link may do now, and until when that can be said: no more than who made it.
pub(crate) async fn standing(
    cx: &Cx,
    claims: &PortalClaims,
    creator: Principal,
) -> Result<(Standing, Option<Timestamp>)> {
    let (app, tenant) = (cx.app(), claims.tid);
    let mut tx = cx.account_tx().await?;
    let is_ended = sqlx::query_scalar!(
        r#"select exists (select from identity.ended_portal_links
             where tenant_id = $1 and id = $2) as "is_ended!""#,
        *tenant,
        *claims.sub,
    )
    .fetch_one(tx.db())
    .await?;
    if is_ended {
        return Err(ended());
    }
    let held = match creator {
        Principal::User(user) => principal::member(app, &mut tx, tenant, user).await,
        Principal::ServiceAccount(account) => {
            principal::service_account(app, &mut tx, tenant, account).await
        }
        Principal::Portal(_) | Principal::System => Err(invalid()),
    };
    let gone = |error: Error| if error.kind() == Kind::NotFound { ended() } else { error };
    let Standing { permissions: mut held, reach } = held.map_err(gone)?;
    let mut until = None;
    if let Some(key) = claims.key {
        let row = sqlx::query!(
            r#"select scopes, expires_at as "expires_at: Timestamp" from identity.api_keys
               where tenant_id = $1 and id = $2 and (expires_at is null or expires_at > $3)"#,
            *tenant,
            *key,
            cx.real_now() as _,
        )
        .fetch_optional(tx.db())
        .await?
        .ok_or_else(ended)?;
        until = row.expires_at;
        if let Some(scopes) = row.scopes {
            held = scopes.into_iter().collect::<Permissions>().intersect(&held);
        }
    }
    let permissions = allowed(&claims.permissions).intersect(&held);
    // A page sits behind it, and nobody of the tenant's who could read.
    Ok((Standing { permissions, reach: reach.with_a_key() }, until))
}

/// Whoever sees endpoints sees what they can subscribe to.
fn allowed(permissions: &[String]) -> Permissions {
    let reads = permissions.iter().any(|name| name == "webhooks:read");
    permissions.iter().map(String::as_str).chain(reads.then_some("events:read")).collect()
}

fn ended() -> Error {
    Error::unauthenticated(
        "identity.portal_link_ended",
        "This link no longer works; ask for another one.",
    )
}
