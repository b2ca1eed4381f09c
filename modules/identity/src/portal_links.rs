//! `POST /portal-links`: a link with which a customer of the tenant's manages their own webhooks; and
//! `DELETE`, which takes it back.

use std::time::Duration;

use freehold_kernel::{
    Change, Created, Error, Event, Json, NoContent, Path, PortalLinkId, Result, Routes, State,
    SystemTx, Timestamp, Tx, endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::portal_token::{PortalClaims, TYPE, audience};

/// What a link can allow.
const ALLOWED: [&str; 3] = ["webhooks:delete", "webhooks:read", "webhooks:write"];
/// How long a link is good unless its maker says otherwise, in seconds.
const LIFETIME_S: u64 = 3600;
/// The longest that one can be good.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The topic of links that were taken back.
pub(crate) const ENDED: &str = "portal_link";

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/portal-links").post("/", "portal-links:write", create_portal_link).delete(
        "/{id}",
        "portal-links:write",
        end_portal_link,
    )
}

/// A link to make.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::NewPortalLink)]
struct NewPortalLink {
    /// Whose webhooks: your own id of your customer. The link shows and changes webhooks with this
    /// `customer` and no others.
    #[garde(length(chars, max = 64), custom(rules::readable))]
    #[schema(example = "cust_4711", format = "name", max_length = 64)]
    customer: String,
    /// What it allows; all three, as far as you may do them yourself, when absent.
    #[garde(inner(length(min = 1, max = 3), inner(custom(check_permission))))]
    #[schema(
        example = json!(["webhooks:read", "webhooks:write"]),
        pattern = "^webhooks:(read|write|delete)$",
        max_length = 15,
        min_items = 1,
        max_items = 3
    )]
    permissions: Option<Vec<String>>,
    /// A page of your own that shows them, without a fragment: https, or http on this machine.
    #[garde(inner(length(max = 2000)))]
    #[schema(example = "https://app.example.com/webhooks", format = "uri", max_length = 2000)]
    page_url: Option<String>,
    /// How long it is good; an hour when absent.
    #[serde(default, deserialize_with = "rules::whole")]
    #[garde(inner(range(min = 60, max = 86_400)))]
    #[schema(value_type = u64, required = false, example = 3600, minimum = 60, maximum = 86_400)]
    expires_in_seconds: Option<u64>,
}

/// A link, which is shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::PortalLink)]
struct PortalLink {
    /// The link: who did it, in the audit log.
    id: PortalLinkId,
    /// For the `Authorization: Bearer` header of the page that your customer sees. Kept nowhere.
    #[schema(example = "eyJ0eXAiOiJwb3J0YWwrand0Ii…")]
    token: String,
    /// Your page, with the token behind `#token=`, where no server's log sees it; null without
    /// `pageUrl`.
    #[schema(example = "https://app.example.com/webhooks#token=eyJ0eXAiOiJwb3J0YWwrand0Ii…")]
    url: Option<String>,
    /// Whose webhooks it shows and changes.
    #[schema(example = "cust_4711")]
    customer: String,
    /// What it allows, as long as you may do that yourself.
    #[schema(example = json!(["webhooks:read", "webhooks:write"]))]
    permissions: Vec<String>,
    /// When it stops working by itself.
    expires_at: Timestamp,
}

/// A link was made with which a customer manages their webhooks.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::PortalLinkCreated)]
#[event(type = "portallink.created", subject = portal_link_id)]
pub(crate) struct PortalLinkCreated {
    /// The link.
    portal_link_id: PortalLinkId,
    /// Whose webhooks it shows and changes.
    #[schema(example = "cust_4711")]
    customer: String,
    /// What it allows.
    #[schema(example = json!(["webhooks:read", "webhooks:write"]))]
    permissions: Vec<String>,
    /// When it stops working by itself.
    expires_at: Timestamp,
}

/// A link was taken back.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::PortalLinkEnded)]
#[event(type = "portallink.ended", subject = portal_link_id)]
pub(crate) struct PortalLinkEnded {
    /// The link.
    portal_link_id: PortalLinkId,
}

/// Make a link with which a customer of yours manages their own webhooks.
///
/// It is good until it expires, and not longer than whoever made it may do what it allows: it dies
/// with their membership, with the API key that made it, and while the tenant is suspended. It
/// outlives the session that made it. No route but those for webhooks takes it.
#[endpoint("identity.grants_too_much", "identity.page_refused")]
async fn create_portal_link(
    State(keys): State<SharedKeys>,
    Json(new): Json<NewPortalLink>,
    mut tx: Tx,
) -> Result<Created<PortalLink>> {
    new.page_url.as_deref().map_or(Ok(()), check_page)?;
    let permissions = permissions(&tx, new.permissions)?;
    let (id, tenant, actor) = (PortalLinkId::new(), tx.tenant(), tx.actor()?.clone());
    let issuer = tx.app().config().public_url.clone();
    let iat = tx.real_now().unix_seconds();
    let exp = iat.saturating_add_unsigned(new.expires_in_seconds.unwrap_or(LIFETIME_S));
    let expires_at = Timestamp::from_unix_seconds(exp)
        .ok_or_else(|| Error::internal("a moment that no clock shows"))?;
    let claims = PortalClaims {
        aud: audience(&issuer),
        iss: issuer,
        sub: id,
        tid: tenant,
        customer: new.customer.clone(),
        permissions: permissions.clone(),
        by: actor.principal.to_string(),
        key: actor.credential.parse().ok(),
        sid: actor.credential.parse().ok(),
        iat,
        exp,
    };
    let token = keys.sign_as(TYPE, iat, &claims)?;
    tx.emit(PortalLinkCreated {
        portal_link_id: id,
        customer: new.customer.clone(),
        permissions: permissions.clone(),
        expires_at,
    })
    .await?;
    let url = new.page_url.map(|page| format!("{page}#token={token}"));
    Ok(Created(PortalLink { id, token, url, customer: new.customer, permissions, expires_at }))
}

/// Take a link back: within a second it opens nothing any more, on any node.
#[endpoint]
async fn end_portal_link(Path(id): Path<PortalLinkId>, mut tx: Tx) -> Result<NoContent> {
    let (tenant, now) = (tx.tenant(), tx.real_now());
    // That it was made is on record; the link itself is kept nowhere.
    let ended = sqlx::query!(
        "insert into identity.ended_portal_links (tenant_id, id, until)
         select $1, $2, $3
         where exists (
           select from core.events
           where tenant_id = $1 and at > $4 and type = 'portallink.created' and subject = $5)
         on conflict (tenant_id, id) do nothing",
        *tenant,
        *id,
        (now + LIFETIME_MAX) as _,
        (now - LIFETIME_MAX) as _,
        id.to_string(),
    )
    .execute(tx.db())
    .await?;
    if ended.rows_affected() == 0 {
        return Err(Error::not_found());
    }
    tx.announce(Change::of(ENDED, &id));
    tx.emit(PortalLinkEnded { portal_link_id: id }).await?;
    Ok(NoContent)
}

/// Forgets links that would have expired by now. A schedule's tick.
pub(crate) async fn forget(tx: &mut SystemTx) -> Result<()> {
    let now = tx.real_now();
    sqlx::query!(
        "-- tidy: across tenants because one statement cleans up after all
         delete from identity.ended_portal_links where until < $1",
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Those asked for, which the caller must hold; or those of all three that they hold.
fn permissions(tx: &Tx, wanted: Option<Vec<String>>) -> Result<Vec<String>> {
    let held = &tx.actor()?.permissions;
    let mut given: Vec<String> = match wanted {
        Some(wanted) => wanted,
        None => ALLOWED.into_iter().filter(|name| held.allow(name)).map(Into::into).collect(),
    };
    given.sort();
    given.dedup();
    if given.is_empty() {
        let words = "You may do nothing with webhooks that a link could allow.";
        return Err(Error::forbidden("identity.grants_too_much", words));
    }
    match given.iter().find(|name| !held.allow(name)) {
        None => Ok(given),
        Some(lacking) => Err(Error::forbidden(
            "identity.grants_too_much",
            format!("You may not give {lacking}, because you do not have it."),
        )),
    }
}

/// A rule for garde: one of those that a link can allow.
fn check_permission(name: &str, _: &()) -> garde::Result {
    if ALLOWED.contains(&name) {
        return Ok(());
    }
    Err(garde::Error::new("webhooks:read, webhooks:write or webhooks:delete"))
}

/// Whether the token can be handed to this page. Over plain HTTP anybody between could send another
/// page, which would read it.
fn check_page(page: &str) -> Result<()> {
    let refuse = |words| Err(Error::invalid("/pageUrl", "identity.page_refused", words));
    let Ok(url) = Url::parse(page) else { return refuse("an address, as in https://example.com/") };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return refuse("begins with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("without a user's name or password");
    }
    if url.fragment().is_some() || page.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("without a fragment and without spaces");
    }
    Ok(())
}
