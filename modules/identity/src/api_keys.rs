//! API keys: of a person (scopes met with what the person may do) or of a service account.

use std::time::Duration;

use freehold_kernel::{
    Change, Created, Error, Event, Id, Json, Kind, List, Named, NoContent, OnConstraint, Page,
    Path, Permissions, Principal, Result, Routes, ServiceAccountId, Timestamp, Tx, UserId,
    endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::key_secret::KeySecret;
use crate::network::{self, Network};
use crate::{grants, principal};

/// How long the previous secret stays good after a rotation.
const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/api-keys")
        .get("/", "api-keys:read", list_api_keys)
        .post("/", "api-keys:write", create_api_key)
        .recent_when("the key could do `users:transfer`, as an owner's without scopes can")
        .post("/{id}/rotate", "api-keys:write", rotate_api_key)
        .recent_when("the key could do `users:transfer` and is not the one that asks")
        .delete("/{id}", "api-keys:delete", delete_api_key)
}

/// The id of an API key.
pub(crate) type ApiKeyId = Id<ApiKey>;

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ApiKey)]
pub(crate) struct ApiKey {
    /// The key.
    id: ApiKeyId,
    /// What it is for.
    #[schema(example = "deploy pipeline")]
    name: String,
    /// The person it belongs to; null for a service account's.
    user_id: Option<UserId>,
    /// The service account it belongs to; null for a person's.
    service_account_id: Option<ServiceAccountId>,
    /// What it may do at the most; null for everything its owner may.
    #[schema(example = json!(["tenants:read"]))]
    scopes: Option<Vec<String>>,
    /// Addresses and networks it may be used from; empty for anywhere.
    #[schema(example = json!(["203.0.113.0/24"]))]
    allowed_ips: Vec<String>,
    /// When it stops working by itself.
    expires_at: Option<Timestamp>,
    /// When it was last used, to the half minute.
    last_used_at: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
}

impl Named for ApiKey {
    const PREFIX: &'static str = "key";
}

/// A key with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = identity::ApiKeyWithSecret)]
struct ApiKeyWithSecret {
    /// The key.
    #[serde(flatten)]
    #[schema(inline)]
    key: ApiKey,
    /// For the `Authorization: Bearer` header. Kept nowhere; shown this once.
    #[schema(example = "fh_live_0192…_5f0c…")]
    secret: String,
}

/// Which keys.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::ApiKeyFilter)]
struct KeyFilter {
    /// Only this person's own: those that die when the person is removed.
    user_id: Option<UserId>,
}

/// A key to make.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::NewApiKey)]
struct NewApiKey {
    /// What it is for.
    #[garde(length(chars, max = 100), custom(rules::readable))]
    #[schema(example = "deploy pipeline", format = "name", max_length = 100)]
    name: String,
    /// What it may do at the most; everything its owner may when absent.
    #[garde(inner(length(min = 1, max = 200)))]
    #[schema(example = json!(["tenants:read"]), max_length = 100, min_items = 1, max_items = 200)]
    scopes: Option<Vec<String>>,
    /// For a key of a service account; the caller's own when absent.
    #[garde(skip)]
    service_account_id: Option<ServiceAccountId>,
    /// Addresses and networks it may be used from; anywhere when absent.
    #[serde(default)]
    #[garde(length(max = 50))]
    #[schema(value_type = Vec<Network>, example = json!(["203.0.113.0/24"]), max_items = 50)]
    allowed_ips: Vec<String>,
    /// When it is to stop working by itself.
    #[garde(skip)]
    #[schema(example = "2099-12-31T23:59:59.000Z")]
    expires_at: Option<Timestamp>,
}

/// An API key was made.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ApiKeyCreated)]
#[event(type = "apikey.created", subject = api_key_id)]
pub(crate) struct ApiKeyCreated {
    /// The key.
    api_key_id: ApiKeyId,
    /// What it is for.
    #[schema(example = "deploy pipeline")]
    name: String,
    /// What it may do at the most; null for everything its owner may.
    #[schema(example = json!(["tenants:read"]))]
    scopes: Option<Vec<String>>,
    /// The service account it belongs to, if not a person.
    service_account_id: Option<ServiceAccountId>,
}

/// An API key got a new secret; the previous one is good for a day more.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ApiKeyRotated)]
#[event(type = "apikey.rotated", subject = api_key_id)]
pub(crate) struct ApiKeyRotated {
    /// The key.
    api_key_id: ApiKeyId,
}

/// An API key was removed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::ApiKeyRevoked)]
#[event(type = "apikey.revoked", subject = api_key_id)]
pub(crate) struct ApiKeyRevoked {
    /// The key.
    pub(crate) api_key_id: ApiKeyId,
    /// What it was for.
    #[schema(example = "deploy pipeline")]
    pub(crate) name: String,
}

/// List one's own keys, newest first; whoever may see service accounts sees all keys.
#[endpoint]
async fn list_api_keys(list: List<KeyFilter>, mut tx: Tx) -> Result<Page<ApiKey>> {
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let owner = only_own(&tx, "service-accounts:read")?;
    let keys = sqlx::query_as!(
        ApiKey,
        "select id, name, user_id, service_account_id, scopes, allowed_ips, expires_at,
           last_used_at, created_at
         from identity.api_keys
         where tenant_id = $1 and ($2::uuid is null or id < $2)
           and ($3::uuid is null or user_id = $3) and ($4::uuid is null or user_id = $4)
         order by id desc limit $5",
        *tenant,
        after,
        owner,
        list.filter.user_id.map(|user| *user),
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(keys, |key| *key.id)
}

/// Make a key. Its secret is shown in this answer and never again.
#[endpoint(
    "identity.grants_too_much",
    "identity.service_account_needed",
    "core.permission_missing"
)]
async fn create_api_key(
    Json(new): Json<NewApiKey>,
    mut tx: Tx,
) -> Result<Created<ApiKeyWithSecret>> {
    grants::check_named(&tx, new.scopes.as_deref().unwrap_or_default(), "/scopes")?;
    let allowed_ips = network::canonical(&new.allowed_ips)?;
    let now = tx.real_now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("/expiresAt", "core.past", "a moment in the future"));
    }
    let user = owner(&mut tx, new.service_account_id).await?;
    check_reach(&mut tx, user, new.service_account_id, new.scopes.as_deref()).await?;
    let (tenant, id) = (tx.tenant(), ApiKeyId::new());
    let (made, secret) = KeySecret::generate(id, is_sandbox(&mut tx).await?)?;
    let key = sqlx::query_as!(
        ApiKey,
        "insert into identity.api_keys
           (tenant_id, id, name, user_id, service_account_id, scopes, secret_hash, allowed_ips,
            expires_at, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         returning id, name, user_id, service_account_id, scopes, allowed_ips, expires_at,
           last_used_at, created_at",
        *tenant,
        *id,
        new.name,
        user.map(|user| *user),
        new.service_account_id.map(|account| *account),
        new.scopes.as_deref(),
        &made.hash,
        &allowed_ips,
        new.expires_at as _,
        now as _,
    )
    .fetch_one(tx.db())
    .await
    .on_constraint("api_keys_owner", Error::not_found)?;
    tx.claim("api_key", id.as_bytes(), *id).await?;
    tx.emit(ApiKeyCreated {
        api_key_id: id,
        name: new.name,
        scopes: new.scopes,
        service_account_id: new.service_account_id,
    })
    .await?;
    Ok(Created(ApiKeyWithSecret { key, secret }))
}

/// Give a key a new secret. The previous one is good for 24 hours more.
///
/// One's own key, or a service account's; the secret of somebody else's would be their identity.
#[endpoint("identity.grants_too_much")]
async fn rotate_api_key(Path(id): Path<ApiKeyId>, mut tx: Tx) -> Result<Json<ApiKeyWithSecret>> {
    let (tenant, until) = (tx.tenant(), tx.real_now() + ROTATION);
    check_rotation(&mut tx, id).await?;
    let (made, secret) = KeySecret::generate(id, is_sandbox(&mut tx).await?)?;
    let key = sqlx::query_as!(
        ApiKey,
        "update identity.api_keys
         set previous_secret_hash = secret_hash, previous_until = $3, secret_hash = $4
         where tenant_id = $1 and id = $2
         returning id, name, user_id, service_account_id, scopes, allowed_ips, expires_at,
           last_used_at, created_at",
        *tenant,
        *id,
        until as _,
        &made.hash,
    )
    .fetch_one(tx.db())
    .await?;
    tx.emit(ApiKeyRotated { api_key_id: id }).await?;
    tx.announce(Change::of("key", &id));
    Ok(Json(ApiKeyWithSecret { key, secret }))
}

/// Remove a key. It stops working at once.
#[endpoint]
async fn delete_api_key(Path(id): Path<ApiKeyId>, mut tx: Tx) -> Result<NoContent> {
    let tenant = tx.tenant();
    let owner = only_own(&tx, "service-accounts:delete")?;
    let name = sqlx::query_scalar!(
        "delete from identity.api_keys
         where tenant_id = $1 and id = $2 and ($3::uuid is null or user_id = $3)
         returning name",
        *tenant,
        *id,
        owner,
    )
    .fetch_one(tx.db())
    .await?;
    tx.release_claim("api_key", id.as_bytes()).await?;
    tx.emit(ApiKeyRevoked { api_key_id: id, name }).await?;
    tx.announce(Change::of("key", &id));
    Ok(NoContent)
}

/// Removes all keys of a principal who leaves: each has a claim to give back and an end to be
/// recorded.
pub(crate) async fn remove_all(tx: &mut Tx, of: Principal) -> Result<()> {
    let (user, account) = match of {
        Principal::User(user) => (Some(*user), None),
        Principal::ServiceAccount(account) => (None, Some(*account)),
        Principal::Portal(_) | Principal::System => return Ok(()),
    };
    let tenant = tx.tenant();
    let keys = sqlx::query!(
        r#"delete from identity.api_keys
           where tenant_id = $1 and (user_id = $2 or service_account_id = $3)
           returning id as "id: ApiKeyId", name"#,
        *tenant,
        user,
        account,
    )
    .fetch_all(tx.db())
    .await?;
    for key in keys {
        tx.release_claim("api_key", key.id.as_bytes()).await?;
        tx.emit(ApiKeyRevoked { api_key_id: key.id, name: key.name }).await?;
        tx.announce(Change::of("key", &key.id));
    }
    Ok(())
}

/// The caller's id when they may only touch keys of their own; `None` with `permission`.
fn only_own(tx: &Tx, permission: &str) -> Result<Option<Uuid>> {
    let actor = tx.actor()?;
    Ok(match actor.principal {
        _ if actor.permissions.allow(permission) => None,
        Principal::User(user) => Some(*user),
        // Owns no keys as a person does: the nil id is nobody's.
        Principal::ServiceAccount(_) | Principal::Portal(_) | Principal::System => {
            Some(Uuid::nil())
        }
    })
}

/// Whoever gets a secret can do what its key can: one's own key or a service account's, and only
/// when the caller may do all of that themselves.
async fn check_rotation(tx: &mut Tx, id: ApiKeyId) -> Result<()> {
    let (tenant, actor) = (tx.tenant(), tx.actor()?.clone());
    if actor.credential == id.to_string() {
        // A key that renews itself gains nothing.
        return Ok(());
    }
    let key = sqlx::query!(
        r#"select user_id as "user_id: UserId", service_account_id as "account: ServiceAccountId",
             scopes
           from identity.api_keys where tenant_id = $1 and id = $2 for update"#,
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    let is_own = key.user_id.is_some_and(|user| actor.principal == Principal::User(user));
    let is_program = key.account.is_some() && actor.permissions.allow("service-accounts:write");
    if !is_own && !is_program {
        return Err(Error::not_found());
    }
    check_reach(tx, key.user_id, key.account, key.scopes.as_deref()).await
}

/// Nobody hands out a key that may do more than they may: what its owner may do, within its scopes.
async fn check_reach(
    tx: &mut Tx,
    user: Option<UserId>,
    account: Option<ServiceAccountId>,
    scopes: Option<&[String]>,
) -> Result<()> {
    let tenant = tx.tenant();
    let role_ids = sqlx::query_scalar!(
        r#"select a.role_id as "role_id!" from core.role_assignments a
           where a.tenant_id = $1 and a.user_id = $2 and a.outlet_id is null
           union all
           select unnest(s.role_ids) from identity.service_accounts s
           where s.tenant_id = $1 and s.id = $3"#,
        *tenant,
        user.map(|user| *user),
        account.map(|account| *account),
    )
    .fetch_all(tx.db())
    .await?;
    let custom = sqlx::query_scalar!(
        r#"select unnest(permissions) as "name!" from identity.roles
           where tenant_id = $1 and id = any ($2)"#,
        *tenant,
        &role_ids,
    )
    .fetch_all(tx.db())
    .await?;
    let held = principal::permissions_of(tx.app(), &role_ids, &custom);
    let reach = match scopes {
        Some(scopes) => scopes.iter().cloned().collect::<Permissions>().intersect(&held),
        None => held,
    };
    let actor = tx.actor()?;
    match reach.iter().find(|name| !actor.permissions.allow(name)) {
        None => grants::check_ownership(tx, &reach),
        Some(lacking) => Err(Error::forbidden(
            "identity.grants_too_much",
            format!("This key could do {lacking}, which you may not do yourself."),
        )),
    }
}

/// The person a new key belongs to, or `None` once the service account was found.
async fn owner(tx: &mut Tx, account: Option<ServiceAccountId>) -> Result<Option<UserId>> {
    let actor = tx.actor()?.clone();
    let Some(account) = account else {
        let Principal::User(user) = actor.principal else {
            return Err(Error::new(
                Kind::Invalid,
                "identity.service_account_needed",
                "A program has no keys of its own; say whose with serviceAccountId.",
            ));
        };
        return Ok(Some(user));
    };
    if !actor.permissions.allow("service-accounts:write") {
        return Err(Error::forbidden(
            "core.permission_missing",
            "A key of a service account needs the permission service-accounts:write.",
        ));
    }
    let tenant = tx.tenant();
    sqlx::query!(
        "select id from identity.service_accounts where tenant_id = $1 and id = $2 for key share",
        *tenant,
        *account,
    )
    .fetch_optional(tx.db())
    .await?
    .ok_or_else(|| {
        Error::invalid("/serviceAccountId", "core.unknown", "no service account of this tenant")
    })?;
    Ok(None)
}

async fn is_sandbox(tx: &mut Tx) -> Result<bool> {
    let tenant = tx.tenant();
    let kind = sqlx::query_scalar!("select kind from core.tenants where tenant_id = $1", *tenant)
        .fetch_one(tx.db())
        .await?;
    Ok(kind == "sandbox")
}
