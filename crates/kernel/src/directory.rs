//! The directory: tenants, users and who belongs where. Every module may read and reference it;
//! writing goes through few hands (see ARCHITECTURE.md, "table of writers").

use serde::Serialize;
use utoipa::ToSchema;

use crate::actor::SystemRole;
use crate::error::{Error, OnConstraint, Result};
use crate::tx::AccountTx;
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

/// The tenant that the installation's operators belong to.
///
/// # Errors
/// 404 before start-up has made it.
pub async fn platform_tenant(tx: &mut AccountTx) -> Result<TenantId> {
    let tenant = sqlx::query_scalar!(
        "-- tidy: across tenants because this is how the platform's own is found
         select tenant_id from core.tenants where kind = 'platform'"
    )
    .fetch_one(tx.db())
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
    claim_slug(tx, tenant, new.slug).await?;
    let (slug, name) = (new.slug.to_owned(), new.name.to_owned());
    tx.emit(tenant, TenantCreated { tenant_id: tenant, slug, name }).await?;
    Ok(tenant)
}

/// Makes a person a member of a tenant, with a system role.
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

async fn claim_slug(tx: &mut AccountTx, tenant: TenantId, slug: &str) -> Result<()> {
    tx.claim(tenant, "tenant_slug", slug.as_bytes(), *tenant).await.map_err(|error| {
        if error.code() == "core.claimed" {
            Error::conflict("core.slug_taken", "This slug is taken.")
        } else {
            error
        }
    })
}
