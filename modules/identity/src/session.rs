//! Sessions: one sign-in of a person on one device, and the answer that opens it.

use std::time::Duration;

use freehold_kernel::{
    AccountTx, Cx, Event, Id, Named, Permissions, Result, TenantId, Timestamp, UserId, directory,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access_token::{Claims, LIFETIME, SharedKeys};
use crate::known_device::KnownDevice;
use crate::refresh_token::RefreshToken;
use crate::{principal, revocation};

/// A session dies when it has not been refreshed for this long.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Live sessions of one person; one more ends the oldest.
const LIVE_MAX: i64 = 50;
/// In characters; what is longer is cut.
const USER_AGENT_MAX: usize = 512;

/// Names a session.
pub enum Session {}

impl Named for Session {
    const PREFIX: &'static str = "ses";
}

/// The id of a session.
pub type SessionId = Id<Session>;

/// A person, as they see themselves.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::Person)]
pub(crate) struct Person {
    /// The person.
    pub(crate) id: UserId,
    /// The address they sign in with.
    #[schema(example = "ada@example.org")]
    pub(crate) email: String,
    /// What they are called.
    #[schema(example = "Ada Lovelace")]
    pub(crate) name: String,
    /// The language they read, BCP 47.
    #[schema(example = "en")]
    pub(crate) locale: String,
    /// The zone they live in, IANA.
    #[schema(example = "Europe/London")]
    pub(crate) time_zone: String,
    /// When the address was proved to be theirs.
    pub(crate) verified_at: Option<Timestamp>,
    /// When they registered.
    pub(crate) created_at: Timestamp,
}

/// A tenant, as somebody sees it who is in it.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = identity::TenantSummary)]
pub(crate) struct TenantSummary {
    /// The tenant.
    pub(crate) id: TenantId,
    /// Its name in URLs.
    #[schema(example = "acme")]
    pub(crate) slug: String,
    /// Its name.
    #[schema(example = "Acme Ltd")]
    pub(crate) name: String,
}

/// Who signed in, where, what they may do, and the tokens that prove it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SignedIn)]
pub(crate) struct SignedIn {
    /// The person.
    user: Person,
    /// The tenant the tokens act in; null for a person who is in none.
    tenant: Option<TenantSummary>,
    /// Every tenant the person is in, last used first.
    tenants: Vec<TenantSummary>,
    /// What the person may do in the tenant.
    #[schema(example = json!(["tenants:read", "tenants:write"]))]
    permissions: Vec<String>,
    /// For the `Authorization: Bearer` header.
    access_token: String,
    /// Seconds until the access token expires.
    #[schema(example = 600)]
    expires_in: u64,
    /// Gets the next pair of tokens, once. Absent when the session keeps the one it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Keep it on the device and send it with the next sign-in there: a known device has tries of
    /// its own, whatever strangers do. Absent unless somebody just signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "fhd_AQGOVvdVNXu8rLmoQZ3hRrEBjlb3VTV7vKy5qEGd4UaxAAABm2jQAAA")]
    device_token: Option<String>,
}

/// Somebody signed in.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SessionCreated)]
#[event(type = "session.created", subject = user_id)]
pub(crate) struct SessionCreated {
    /// The person.
    pub(crate) user_id: UserId,
    /// The session.
    pub(crate) session_id: SessionId,
    /// How they proved who they are.
    #[schema(example = "password")]
    pub(crate) method: &'static str,
}

/// A session ended before its time.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SessionRevoked)]
#[event(type = "session.revoked", subject = user_id)]
pub(crate) struct SessionRevoked {
    /// The person.
    pub(crate) user_id: UserId,
    /// The session.
    pub(crate) session_id: SessionId,
    /// Why it ended: `logout`, `logout_all`, `revoked` from the list of sessions,
    /// `password_changed`, `removed` from the tenant, `operator` at the command line, `too_many` when
    /// a 51st was opened, or `replay` of a refresh token that had been used.
    #[schema(example = "logout")]
    pub(crate) reason: &'static str,
}

/// Opens a session for a person who has just proved who they are, on the known device they came
/// with or a new one.
pub(crate) async fn open(
    cx: &Cx,
    tx: &mut AccountTx,
    keys: &SharedKeys,
    user: UserId,
    tenant: Option<TenantId>,
    method: &'static str,
    known: Option<KnownDevice>,
) -> Result<SignedIn> {
    let (id, now) = (SessionId::new(), cx.real_now());
    make_room(tx, user).await?;
    sqlx::query!(
        "insert into identity.sessions
           (id, user_id, tenant_id, generated_ats, created_at, expires_at, user_agent, ip)
         values ($1, $2, $3, array[$4::timestamptz], $4, $5, $6, $7)",
        *id,
        *user,
        tenant.map(|tenant| *tenant),
        now as _,
        (now + IDLE) as _,
        user_agent(cx),
        ip(cx),
    )
    .execute(tx.db())
    .await?;
    let token = RefreshToken { session: id, generation: 1 };
    let signed_in = answer(cx, tx, keys, user, tenant, token, now).await?;
    let home = match tenant {
        Some(tenant) => tenant,
        None => directory::platform_tenant(tx).await?,
    };
    tx.emit(home, SessionCreated { user_id: user, session_id: id, method }).await?;
    let device = KnownDevice::of(user, known, now).write(cx.app().keyring())?;
    Ok(SignedIn { device_token: Some(device), ..signed_in })
}

/// So that one more session is not one too many. Sign-ins of one person come one after the other
/// from here on.
async fn make_room(tx: &mut AccountTx, user: UserId) -> Result<()> {
    sqlx::query!("select id from core.users where id = $1 for no key update", *user)
        .fetch_one(tx.db())
        .await?;
    revocation::end_oldest(tx, user, LIVE_MAX - 1, "too_many").await
}

/// What the caller's browser or program calls itself.
pub(crate) fn user_agent(cx: &Cx) -> Option<String> {
    let words = cx.headers().get("user-agent").and_then(|value| value.to_str().ok());
    words.map(|words| words.chars().take(USER_AGENT_MAX).collect())
}

/// The caller's address.
pub(crate) fn ip(cx: &Cx) -> Option<String> {
    cx.ip().map(|ip| ip.to_string())
}

/// Writes the answer for a session: tokens, who, where. Signs the caller in for this request.
pub(crate) async fn answer(
    cx: &Cx,
    tx: &mut AccountTx,
    keys: &SharedKeys,
    user: UserId,
    tenant: Option<TenantId>,
    token: RefreshToken,
    authenticated_at: Timestamp,
) -> Result<SignedIn> {
    let permissions = match tenant {
        Some(tenant) => {
            note_use(tx, user, tenant, cx.real_now()).await?;
            // Also where a suspension leaves them little: they can still go elsewhere.
            principal::member(cx.app(), tx, tenant, user).await?.permissions
        }
        None => Permissions::default(),
    };
    let session = token.session;
    cx.sign_in(principal::actor(tenant, user, session, authenticated_at, permissions.clone()));
    let tenants = tenants_of(tx, user).await?;
    let access_token = keys.sign(&claims(cx, user, tenant, session, authenticated_at))?;
    Ok(SignedIn {
        user: person(tx, user).await?,
        tenant: tenants.iter().find(|known| Some(known.id) == tenant).cloned(),
        tenants,
        permissions: permissions.iter().map(ToOwned::to_owned).collect(),
        access_token,
        expires_in: LIFETIME.as_secs(),
        refresh_token: Some(token.write(cx.app().keyring())?),
        device_token: None,
    })
}

impl SignedIn {
    /// For an answer that leaves the refresh token as it is.
    pub(crate) fn without_refresh_token(self) -> Self {
        Self { refresh_token: None, ..self }
    }
}

fn claims(
    cx: &Cx,
    user: UserId,
    tenant: Option<TenantId>,
    session: SessionId,
    authenticated_at: Timestamp,
) -> Claims {
    let (issuer, now) = (cx.app().config().public_url.clone(), cx.real_now());
    Claims {
        iss: issuer.clone(),
        aud: issuer,
        sub: user,
        tid: tenant,
        sid: session,
        aal: 1,
        auth_time: authenticated_at.unix_seconds(),
        iat: now.unix_seconds(),
        exp: (now + LIFETIME).unix_seconds(),
    }
}

/// The person, for answers.
pub(crate) async fn person(tx: &mut AccountTx, id: UserId) -> Result<Person> {
    let person = sqlx::query_as!(
        Person,
        "select id, email, name, locale, time_zone, verified_at, created_at
         from core.users where id = $1",
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(person)
}

/// A tenant, for answers.
pub(crate) async fn tenant(tx: &mut AccountTx, id: TenantId) -> Result<TenantSummary> {
    let tenant = sqlx::query_as!(
        TenantSummary,
        "select tenant_id as id, slug, name from core.tenants where tenant_id = $1",
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(tenant)
}

/// The tenants a person is in, last used first, else oldest membership first.
pub(crate) async fn tenants_of(tx: &mut AccountTx, user: UserId) -> Result<Vec<TenantSummary>> {
    let tenants = sqlx::query_as!(
        TenantSummary,
        "-- tidy: across tenants because a person may choose among those they are in
         select t.tenant_id as id, t.slug, t.name
         from core.user_tenants u join core.tenants t on t.tenant_id = u.tenant_id
         where u.user_id = $1 and t.status <> 'inactive'
         order by u.last_used_at desc nulls last, u.joined_at limit 200",
        *user,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(tenants)
}

async fn note_use(
    tx: &mut AccountTx,
    user: UserId,
    tenant: TenantId,
    now: Timestamp,
) -> Result<()> {
    sqlx::query!(
        "update core.user_tenants set last_used_at = $3 where user_id = $1 and tenant_id = $2",
        *user,
        *tenant,
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
