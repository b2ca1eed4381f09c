//! The directory: tenants, users and who belongs where. Every module may read and reference it;
//! writing goes through few hands (see ARCHITECTURE.md, "table of writers").

use serde::Serialize;
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;

use crate::actor::{RoleId, SystemRole};
use crate::database::Db;
use crate::error::{Error, OnConstraint, Result};
use crate::slugs;
use crate::tx::{AccountTx, SystemTx};
use crate::{Event, Id, Named};

/// Names a tenant.
pub enum Tenant {}

impl Named for Tenant {
    const PREFIX: &'static str = "ten";
}

/// The id of a tenant.
pub type TenantId = Id<Tenant>;

/// Names a person.
pub enum User {}

impl Named for User {
    const PREFIX: &'static str = "usr";
}

/// The id of a person.
pub type UserId = Id<User>;

/// Names a program that belongs to a tenant.
pub enum ServiceAccount {}

impl Named for ServiceAccount {
    const PREFIX: &'static str = "svc";
}

/// The id of a service account.
pub type ServiceAccountId = Id<ServiceAccount>;

/// What a new tenant starts with.
pub struct NewTenant<'a> {
    /// What people call it, 1 to 200 characters.
    pub name: &'a str,
    /// Its name in URLs, `[a-z0-9-]{3,40}`, unique in the installation.
    pub slug: &'a str,
    /// What it is for.
    pub kind: TenantKind,
}

/// What a tenant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantKind {
    /// A customer.
    Live,
    /// A customer's playground, with a clock of its own.
    Sandbox,
    /// The one that the installation's operators belong to.
    Platform,
}

impl TenantKind {
    /// As the database has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox => "sandbox",
            Self::Platform => "platform",
        }
    }
}

/// Slugs that would be mistaken for parts of the product.
const RESERVED_SLUGS: [&str; 17] = [
    "admin", "api", "app", "auth", "billing", "console", "docs", "freehold", "health", "help",
    "login", "new", "platform", "status", "support", "system", "www",
];

/// A tenant was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantCreated)]
pub struct TenantCreated {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its name in URLs.
    #[schema(example = "acme")]
    pub slug: String,
    /// Its name.
    #[schema(example = "Acme Ltd")]
    pub name: String,
}

impl Event for TenantCreated {
    const TYPE: &'static str = "tenant.created";
    const DESCRIPTION: &'static str = "A tenant was made.";
    const PERSONAL: &'static [&'static str] = &[];

    fn subject(&self) -> String {
        self.tenant_id.to_string()
    }
}

/// A person who had been removed from a tenant was taken back.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::UserRestored)]
pub struct UserRestored {
    /// The person.
    pub user_id: UserId,
    /// The roles they hold now.
    pub role_ids: Vec<RoleId>,
}

impl Event for UserRestored {
    const TYPE: &'static str = "user.restored";
    const DESCRIPTION: &'static str = "A person who had been removed from a tenant was taken back.";
    const PERSONAL: &'static [&'static str] = &[];

    fn subject(&self) -> String {
        self.user_id.to_string()
    }
}

/// Nothing is left of a tenant that was closed. Recorded in the platform tenant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::TenantPurged)]
pub struct TenantPurged {
    /// The tenant that was.
    pub tenant_id: TenantId,
    /// Its name in URLs.
    #[schema(example = "acme")]
    pub slug: String,
    /// How many rows were removed from each table.
    #[schema(value_type = Object, example = json!({"core.memberships": 3}))]
    pub removed: serde_json::Value,
}

impl Event for TenantPurged {
    const TYPE: &'static str = "tenant.purged";
    const DESCRIPTION: &'static str = "Nothing is left of a tenant that was closed a month ago.";
    const PERSONAL: &'static [&'static str] = &[];

    fn subject(&self) -> String {
        self.tenant_id.to_string()
    }
}

/// The tenant that the installation's operators belong to.
///
/// # Errors
/// 404 before start-up has made it.
pub async fn platform_tenant(tx: &mut AccountTx) -> Result<TenantId> {
    platform(tx.db()).await
}

/// The same for the kernel's own work.
pub(crate) async fn platform_of_system(tx: &mut SystemTx) -> Result<TenantId> {
    platform(tx.db()).await
}

async fn platform(db: &mut Db) -> Result<TenantId> {
    let tenant = sqlx::query_scalar!(
        "-- tidy: across tenants because this is how the platform's own is found
         select tenant_id from core.tenants where kind = 'platform'"
    )
    .fetch_one(db)
    .await?;
    Ok(tenant)
}

/// The only way to make a tenant. Records `tenant.created` in it.
///
/// # Errors
/// 409 `core.slug_taken`; 422 for a slug that is reserved or misshapen.
pub async fn create_tenant(tx: &mut AccountTx, new: &NewTenant<'_>) -> Result<TenantId> {
    let is_platform = new.kind == TenantKind::Platform;
    if !is_platform {
        check_slug(new.slug, "/tenantSlug")?;
    }
    let tenant = TenantId::new();
    sqlx::query!(
        "-- tidy: across tenants because the tenant is only now being made
         insert into core.tenants (tenant_id, slug, name, kind, created_at)
         values ($1, $2, $3, $4, $5)",
        *tenant,
        new.slug,
        new.name,
        new.kind.as_str(),
        tx.real_now() as _,
    )
    .execute(tx.db())
    .await?;
    tx.claim(tenant, slugs::KIND, new.slug.as_bytes(), *tenant).await.map_err(slugs::taken)?;
    let (slug, name) = (new.slug.to_owned(), new.name.to_owned());
    tx.emit(tenant, TenantCreated { tenant_id: tenant, slug, name }).await?;
    Ok(tenant)
}

/// The person who registered with this address, whatever its case and width.
///
/// # Errors
/// When the database fails.
pub async fn person_by_email(tx: &mut AccountTx, email: &str) -> Result<Option<UserId>> {
    let found = sqlx::query_scalar!(
        r#"select id as "id: UserId" from core.users
           where email_normalised = $1 and status = 'active'"#,
        normalise_email(email),
    )
    .fetch_optional(tx.db())
    .await?;
    Ok(found)
}

/// Whether two addresses are the same person's is decided on this form: NFKC, lower case.
#[must_use]
pub fn normalise_email(email: &str) -> String {
    email.nfkc().collect::<String>().to_lowercase()
}

/// Makes a person a member of a tenant, with a system role. Somebody who was removed is taken back,
/// which is recorded as `user.restored`; what they had there before stays gone.
///
/// # Errors
/// 409 `core.already_member` when they are one.
pub async fn add_member(
    tx: &mut AccountTx,
    tenant: TenantId,
    user: UserId,
    role: SystemRole,
) -> Result<()> {
    let now = tx.real_now();
    if take_back(tx, tenant, user).await? {
        tx.emit(tenant, UserRestored { user_id: user, role_ids: vec![role.id()] }).await?;
    } else {
        insert_member(tx, tenant, user).await?;
    }
    sqlx::query!(
        "insert into core.role_assignments (tenant_id, id, user_id, role_id)
         values ($1, $2, $3, $4)",
        *tenant,
        uuid::Uuid::now_v7(),
        *user,
        *role.id(),
    )
    .execute(tx.db())
    .await?;
    sqlx::query!(
        "insert into core.user_tenants (user_id, tenant_id, joined_at) values ($1, $2, $3)",
        *user,
        *tenant,
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Whether the person had been removed and is a member again.
async fn take_back(tx: &mut AccountTx, tenant: TenantId, user: UserId) -> Result<bool> {
    let now = tx.real_now();
    let taken = sqlx::query!(
        "update core.memberships m
         set status = 'active', email = u.email, name = u.name, created_at = $3
         from core.users u
         where m.tenant_id = $1 and m.user_id = $2 and m.status = 'removed' and u.id = $2",
        *tenant,
        *user,
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(taken.rows_affected() == 1)
}

async fn insert_member(tx: &mut AccountTx, tenant: TenantId, user: UserId) -> Result<()> {
    let now = tx.real_now();
    sqlx::query!(
        "insert into core.memberships (tenant_id, user_id, email, name, created_at)
         select $1, id, email, name, $3 from core.users where id = $2",
        *tenant,
        *user,
        now as _,
    )
    .execute(tx.db())
    .await
    .on_constraint("memberships_pkey", || {
        Error::conflict("core.already_member", "This person is a member already.")
    })?;
    Ok(())
}

/// Checks a slug that somebody chose.
///
/// # Errors
/// 422 at `pointer` that says the rule.
pub fn check_slug(slug: &str, pointer: &str) -> Result<()> {
    if RESERVED_SLUGS.contains(&slug) {
        return Err(Error::invalid(pointer, "core.reserved", "this name is reserved"));
    }
    let fits = (3..=40).contains(&slug.len())
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(Error::invalid(
        pointer,
        "core.format",
        "3 to 40 lower-case letters, digits and hyphens, no hyphen at either end",
    ))
}
