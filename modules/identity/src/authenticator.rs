//! Who is asking: bearer tokens and API keys, verified once and then remembered.
//!
//! A verified credential is remembered by its SHA-256 until it expires or something it depends on
//! changes: its session or key, its principal's roles, its tenant. Each of those is a flag that the
//! change feed raises; a raised flag sends the next request back to the database, which knows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use freehold_kernel::crypto::sha256_plain;
use freehold_kernel::ports::Authenticate;
use freehold_kernel::{
    Actor, App, Change, Cx, Error, Permissions, Principal, Result, Series, TenantId, Timestamp,
};
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use moka::sync::Cache;

use crate::access_token::{Claims, SharedKeys, invalid, type_of};
use crate::api_keys::ApiKeyId;
use crate::key_secret::{self, KeySecret};
use crate::portal_links::ENDED;
use crate::portal_token;
use crate::principal::{self, Standing};
use crate::reach::Reach;
use crate::signing_key_rotation::{PUBLISHED, WITHDRAWN};

const REMEMBERED_MAX: u64 = 50_000;
/// A key without an expiry is looked up again after this long in any case.
const KEY_REMEMBERED: Duration = Duration::from_secs(600);
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// Credentials asked about: answered from memory, or looked up.
static CHECKS: Series = Series {
    name: "freehold_credential_checks",
    help: "Credentials answered for from memory, or verified with signature and database",
    label: "how",
};

/// Identity's implementation of the port.
pub struct Authenticator {
    keys: SharedKeys,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
    flags: Mutex<HashMap<String, Weak<AtomicBool>>>,
    used: Mutex<HashMap<ApiKeyId, (TenantId, Timestamp)>>,
}

/// A credential that was verified.
struct Remembered {
    actor: Arc<Actor>,
    expires_at: Timestamp,
    stale: Vec<Arc<AtomicBool>>,
    allowed: Vec<IpNet>,
    reach: Reach,
    key: Option<(TenantId, ApiKeyId)>,
}

impl Default for Authenticator {
    fn default() -> Self {
        Self {
            keys: SharedKeys::default(),
            remembered: Cache::new(REMEMBERED_MAX),
            flags: Mutex::default(),
            used: Mutex::default(),
        }
    }
}

impl Authenticate for Authenticator {
    fn authenticate<'a>(&'a self, cx: &'a Cx) -> BoxFuture<'a, Result<Option<Arc<Actor>>>> {
        Box::pin(async move {
            let Some(header) = cx.headers().get("authorization") else { return Ok(None) };
            let text = header.to_str().ok().and_then(|text| text.split_once(' '));
            let credential = text
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, credential)| credential.trim())
                .ok_or_else(|| {
                    Error::unauthenticated(
                        "identity.credentials_malformed",
                        "Send `Authorization: Bearer`, then an access token or an API key.",
                    )
                })?;
            if let Some(known) = self.known(credential, cx.real_now()) {
                cx.app().metrics().count(&CHECKS, "remembered");
                return self.let_in(cx, &known).map(Some);
            }
            cx.app().metrics().count(&CHECKS, "verified");
            let verified = if key_secret::looks_like_one(credential) {
                self.verify_key(cx, credential).await?
            } else if type_of(credential).as_deref() == Some(portal_token::TYPE) {
                self.verify_portal_token(cx, credential).await?
            } else {
                self.verify_token(cx, credential).await?
            };
            let remembered = Arc::new(verified);
            self.remembered.insert(sha256_plain(credential.as_bytes()), remembered.clone());
            self.let_in(cx, &remembered).map(Some)
        })
    }

    fn forget(&self, change: &Change) {
        match change.topic.as_str() {
            // Before the flag goes up: what is looked at again must find the key gone.
            WITHDRAWN => {
                self.keys.withdraw(&change.subject);
                self.keys.look_again();
            }
            PUBLISHED => self.keys.look_again(),
            _ => {}
        }
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{}:{}", change.topic, change.subject);
        if let Some(flag) = flags.remove(&name).and_then(|flag| flag.upgrade()) {
            flag.store(true, Ordering::Release);
        }
    }

    fn refusals(&self) -> &'static [&'static str] {
        &[
            "identity.credentials_malformed",
            "identity.token_invalid",
            "identity.token_expired",
            "identity.session_ended",
            "identity.key_invalid",
            "identity.portal_link_ended",
            "identity.address_not_allowed",
            "identity.tenant_not_active",
            "tenants.suspended",
            "core.not_found",
        ]
    }
}

impl Authenticator {
    /// The keys that sign and verify access tokens.
    #[must_use]
    pub fn keys(&self) -> &SharedKeys {
        &self.keys
    }

    /// Answers from memory: no database, no signature.
    ///
    /// # Errors
    /// 403 for a key used from an address it may not be used from.
    pub fn recall(
        &self,
        credential: &str,
        now: Timestamp,
        ip: Option<IpAddr>,
    ) -> Result<Option<Arc<Actor>>> {
        self.known(credential, now).map(|known| self.admit(&known, now, ip)).transpose()
    }

    /// What is remembered of a credential and still holds.
    fn known(&self, credential: &str, now: Timestamp) -> Option<Arc<Remembered>> {
        let name = sha256_plain(credential.as_bytes());
        let known = self.remembered.get(&name)?;
        let stale = known.stale.iter().any(|flag| flag.load(Ordering::Acquire));
        if stale || known.expires_at <= now {
            self.remembered.invalidate(&name);
            return None;
        }
        Some(known)
    }

    /// From this address, and as far as the tenant's standing lets it reach.
    fn let_in(&self, cx: &Cx, known: &Remembered) -> Result<Arc<Actor>> {
        let actor = self.admit(known, cx.real_now(), cx.ip())?;
        let reads = matches!(cx.method().as_str(), "GET" | "HEAD");
        known.reach.check(cx.route().access, reads)?;
        Ok(actor)
    }

    /// Checks the address, and notes that a key was used.
    fn admit(&self, known: &Remembered, now: Timestamp, ip: Option<IpAddr>) -> Result<Arc<Actor>> {
        let allowed = known.allowed.is_empty()
            || ip.is_some_and(|ip| known.allowed.iter().any(|network| network.contains(&ip)));
        if !allowed {
            return Err(Error::forbidden(
                "identity.address_not_allowed",
                "This key may not be used from this address.",
            ));
        }
        if let Some((tenant, key)) = known.key {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert(key, (tenant, now));
        }
        Ok(known.actor.clone())
    }

    async fn verify_token(&self, cx: &Cx, token: &str) -> Result<Remembered> {
        let issuer = &cx.app().config().public_url;
        let (claims, kid) = self.keys.verify_and_name(token, issuer, cx.real_now())?;
        let principal = Principal::User(claims.sub);
        let mut watched = vec![format!("session:{}", claims.sid), format!("{WITHDRAWN}:{kid}")];
        if let Some(tenant) = claims.tid {
            watched.push(format!("principal:{}", principal::subject(tenant, principal)));
            watched.push(format!("tenant:{tenant}"));
        }
        // Flags are up before the database is read: a change that commits meanwhile raises them.
        let stale = self.watch(watched);
        if !self.keys.holds(&kid) {
            return Err(invalid());
        }
        let Standing { permissions, reach } = self.standing(cx, &claims).await?;
        let moment = |seconds| Timestamp::from_unix_seconds(seconds).ok_or_else(invalid);
        let (expires_at, proved_at) = (moment(claims.exp)?, moment(claims.auth_time)?);
        let actor = principal::actor(claims.tid, claims.sub, claims.sid, proved_at, permissions);
        Ok(Remembered { actor, expires_at, stale, allowed: Vec::new(), reach, key: None })
    }

    /// What the holder of a token may do now, if their session still lives.
    async fn standing(&self, cx: &Cx, claims: &Claims) -> Result<Standing> {
        let mut tx = cx.account_tx().await?;
        let alive = sqlx::query_scalar!(
            r#"select s.ended_at is null and u.status = 'active' as "alive!"
               from identity.sessions s join core.users u on u.id = s.user_id
               where s.id = $1 and s.user_id = $2"#,
            *claims.sid,
            *claims.sub,
        )
        .fetch_optional(tx.db())
        .await?;
        if alive != Some(true) {
            return Err(Error::unauthenticated(
                "identity.session_ended",
                "This session has ended; sign in again.",
            ));
        }
        match claims.tid {
            Some(tenant) => principal::member(cx.app(), &mut tx, tenant, claims.sub).await,
            None => Ok(Standing::nowhere()),
        }
    }

    async fn verify_key(&self, cx: &Cx, text: &str) -> Result<Remembered> {
        let invalid =
            || Error::unauthenticated("identity.key_invalid", "This API key is not valid.");
        let given = KeySecret::read(text).ok_or_else(invalid)?;
        let mut tx = cx.account_tx().await?;
        let claim = tx.resolve("api_key", given.id.as_bytes()).await?.ok_or_else(invalid)?;
        let tenant = claim.tenant;
        let mut stale = self.watch(vec![format!("key:{}", given.id), format!("tenant:{tenant}")]);
        let now = cx.real_now();
        let row = sqlx::query!(
            r#"select user_id, service_account_id, scopes, allowed_ips, expires_at,
                 secret_hash = $3 as "current!", previous_until
               from identity.api_keys
               where tenant_id = $1 and id = $2
                 and (secret_hash = $3 or (previous_secret_hash = $3 and previous_until > $4))
                 and (expires_at is null or expires_at > $4)"#,
            *tenant,
            *given.id,
            &given.hash,
            now as _,
        )
        .fetch_optional(tx.db())
        .await?
        .ok_or_else(invalid)?;
        let principal = match (row.user_id, row.service_account_id) {
            (Some(user), _) => Principal::User(user),
            (None, Some(account)) => Principal::ServiceAccount(account),
            (None, None) => return Err(invalid()),
        };
        stale.extend(
            self.watch(vec![format!("principal:{}", principal::subject(tenant, principal))]),
        );
        let Standing { permissions: held, reach } = match principal {
            Principal::User(user) => principal::member(cx.app(), &mut tx, tenant, user).await,
            Principal::ServiceAccount(account) => {
                principal::service_account(cx.app(), &mut tx, tenant, account).await
            }
            Principal::Portal(_) | Principal::System => return Err(invalid()),
        }?;
        let permissions = match row.scopes {
            Some(scopes) => scopes.into_iter().collect::<Permissions>().intersect(&held),
            None => held,
        };
        let previous_ends = row.previous_until.filter(|_| !row.current);
        let ends = [Some(now + KEY_REMEMBERED), row.expires_at, previous_ends];
        Ok(Remembered {
            actor: Arc::new(Actor {
                tenant: Some(tenant),
                principal,
                credential: given.id.to_string(),
                permissions,
                aal: 1,
                authenticated_at: None,
                customer: None,
            }),
            expires_at: ends.into_iter().flatten().min().unwrap_or(now),
            stale,
            allowed: row.allowed_ips.iter().filter_map(|network| network.parse().ok()).collect(),
            reach: reach.with_a_key(),
            key: Some((tenant, given.id)),
        })
    }

    async fn verify_portal_token(&self, cx: &Cx, token: &str) -> Result<Remembered> {
        let (issuer, now) = (&cx.app().config().public_url, cx.real_now());
        let (claims, kid) = portal_token::read(&self.keys, token, issuer, now)?;
        let (tenant, creator) = (claims.tid, claims.creator().ok_or_else(invalid)?);
        let mut watched = vec![
            format!("{WITHDRAWN}:{kid}"),
            format!("principal:{}", principal::subject(tenant, creator)),
            format!("tenant:{tenant}"),
            format!("{ENDED}:{}", claims.sub),
        ];
        watched.extend(claims.key.map(|key| format!("key:{key}")));
        // As with access tokens: the flags are up before anything is read.
        let stale = self.watch(watched);
        if !self.keys.holds(&kid) {
            return Err(invalid());
        }
        let (standing, until) = portal_token::standing(cx, &claims, creator).await?;
        let ends = [Timestamp::from_unix_seconds(claims.exp), Some(now + KEY_REMEMBERED), until];
        Ok(Remembered {
            actor: Arc::new(Actor {
                tenant: Some(tenant),
                principal: Principal::Portal(claims.sub),
                credential: claims.sub.to_string(),
                permissions: standing.permissions,
                aal: 1,
                authenticated_at: None,
                customer: Some(claims.customer.into()),
            }),
            expires_at: ends.into_iter().flatten().min().unwrap_or(now),
            stale,
            allowed: Vec::new(),
            reach: standing.reach,
            key: None,
        })
    }

    /// The flags for these names, shared with every credential that depends on the same.
    fn watch(&self, names: Vec<String>) -> Vec<Arc<AtomicBool>> {
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        if flags.len() as u64 > 4 * REMEMBERED_MAX {
            flags.retain(|_, flag| flag.strong_count() > 0);
        }
        let mut watched = Vec::with_capacity(names.len());
        for name in names {
            let known = flags.get(&name).and_then(Weak::upgrade);
            let flag = known.unwrap_or_default();
            flags.insert(name, Arc::downgrade(&flag));
            watched.push(flag);
        }
        watched
    }
}

/// Writes down, every half minute, when keys were last used.
pub(crate) async fn note_last_used(app: Arc<App>, authenticator: Arc<Authenticator>) {
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        let used = {
            let mut used = authenticator.used.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *used)
        };
        if used.is_empty() {
            continue;
        }
        if let Err(error) = write_last_used(&app, used).await {
            tracing::warn!(%error, "when keys were last used could not be noted");
        }
    }
}

async fn write_last_used(
    app: &Arc<App>,
    used: HashMap<ApiKeyId, (TenantId, Timestamp)>,
) -> Result<()> {
    let (mut tenants, mut ids, mut ats) = (Vec::new(), Vec::new(), Vec::new());
    for (id, (tenant, at)) in used {
        tenants.push(*tenant);
        ids.push(*id);
        ats.push(at);
    }
    let mut tx = app.account_tx().await?;
    sqlx::query!(
        "-- tidy: across tenants because one statement notes the keys of all
         update identity.api_keys k set last_used_at = u.at
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as u (tenant_id, id, at)
         where k.tenant_id = u.tenant_id and k.id = u.id
           and (k.last_used_at is null or k.last_used_at < u.at)",
        &tenants,
        &ids,
        ats as _,
    )
    .execute(tx.db())
    .await?;
    tx.commit().await
}
