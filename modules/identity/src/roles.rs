//! `/roles`: the bundles of permissions that a tenant gives to its people and programs. System
//! roles are ours and cannot be changed; custom ones are the tenant's own.

use freehold_kernel::{
    App, Change, Created, Error, Event, IfMatch, Json, NoContent, OnConstraint, Patch, Path,
    Permissions, Result, RoleId, Routes, SystemRole, Timestamp, Tx, WithEtag, endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::role_holders::{self, Holders};
use crate::{grants, principal};

/// Custom roles of one tenant.
const CUSTOM_MAX: i64 = 100;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/roles")
        .get("/", "roles:read", list_roles)
        .post("/", "roles:write", create_role)
        .recent_when("`permissions` names `users:transfer`")
        .get("/{id}", "roles:read", get_role)
        .patch("/{id}", "roles:write", update_role)
        .recent_when("`permissions` names `users:transfer`")
        .delete("/{id}", "roles:delete", delete_role)
}

/// The roles of this tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = identity::Roles)]
struct Roles {
    /// System roles, most powerful first, then custom ones by name; at most 105.
    data: Vec<Role>,
}

/// A bundle of permissions.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::Role)]
struct Role {
    /// The role.
    id: RoleId,
    /// What it is called.
    #[schema(example = "Support lead")]
    name: String,
    /// What it is for.
    #[schema(example = "Answers customers and looks after their webhooks")]
    description: String,
    /// Whether it is one of ours, which nobody can change.
    #[schema(example = false)]
    system: bool,
    /// What it allows, sorted.
    #[schema(example = json!(["tenants:read"]))]
    permissions: Vec<String>,
    /// How many people hold it.
    #[schema(example = 3)]
    user_count: i64,
    /// How many service accounts hold it.
    #[schema(example = 1)]
    service_account_count: i64,
    /// When it was made; null for a system role.
    created_at: Option<Timestamp>,
    /// Goes up with every change; the `ETag`.
    #[schema(example = 1)]
    version: i64,
}

/// A role to make.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::NewRole)]
struct NewRole {
    /// What to call it; unique in the tenant, whatever the case.
    #[garde(length(chars, max = 100), custom(rules::readable))]
    #[schema(example = "Support lead", format = "name", max_length = 100)]
    name: String,
    /// What it is for.
    #[serde(default)]
    #[garde(length(chars, max = 500))]
    #[schema(example = "Answers customers", max_length = 500)]
    description: String,
    /// What it allows; no more than the caller may do.
    #[garde(length(max = 500))]
    #[schema(
        example = json!(["tenants:read", "webhooks:read"]), max_length = 100, max_items = 500
    )]
    permissions: Vec<String>,
}

/// What may be changed about a custom role; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::UpdateRole)]
struct UpdateRole {
    /// What to call it; unique in the tenant, whatever the case.
    #[garde(inner(length(chars, max = 100), custom(rules::readable)))]
    #[schema(example = "Support lead", format = "name", max_length = 100)]
    name: Option<String>,
    /// What it is for; null for nothing.
    #[serde(default)]
    #[garde(inner(length(chars, max = 500)))]
    #[schema(value_type = Option<String>, example = "Answers customers", max_length = 500)]
    description: Patch<String>,
    /// All that it is to allow; no more than the caller may do.
    #[garde(inner(length(max = 500)))]
    #[schema(example = json!(["tenants:read"]), max_length = 100, max_items = 500)]
    permissions: Option<Vec<String>>,
}

/// A custom role was made.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::RoleCreated)]
#[event(type = "role.created", subject = role_id)]
pub(crate) struct RoleCreated {
    /// The role.
    role_id: RoleId,
    /// What it is called.
    #[schema(example = "Support lead")]
    name: String,
    /// What it allows.
    #[schema(example = json!(["tenants:read"]))]
    permissions: Vec<String>,
}

/// A custom role was changed; whoever holds it may do what it now allows.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::RoleUpdated)]
#[event(type = "role.updated", subject = role_id)]
pub(crate) struct RoleUpdated {
    /// The role.
    role_id: RoleId,
    /// What it is called, after the change.
    #[schema(example = "Support lead")]
    name: String,
    /// What it allows, after the change.
    #[schema(example = json!(["tenants:read"]))]
    permissions: Vec<String>,
}

/// A custom role was removed; nobody held it.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::RoleDeleted)]
#[event(type = "role.deleted", subject = role_id)]
pub(crate) struct RoleDeleted {
    /// The role.
    role_id: RoleId,
    /// What it was called.
    #[schema(example = "Support lead")]
    name: String,
    /// What it allowed.
    #[schema(example = json!(["tenants:read"]))]
    permissions: Vec<String>,
}

/// A custom role as it is kept.
#[derive(Clone, PartialEq)]
pub(crate) struct Custom {
    id: RoleId,
    name: String,
    description: String,
    permissions: Vec<String>,
    version: i64,
    created_at: Timestamp,
}

/// List the roles of the tenant and what each allows.
#[endpoint]
async fn list_roles(mut tx: Tx) -> Result<Json<Roles>> {
    let tenant = tx.tenant();
    let custom = sqlx::query_as!(
        Custom,
        "select id, name, description, permissions, version, created_at
         from identity.roles where tenant_id = $1 order by folded_name",
        *tenant,
    )
    .fetch_all(tx.db())
    .await?;
    let holders = role_holders::count_all(&mut tx).await?;
    let held_by = |id| holders.get(&id).copied().unwrap_or_default();
    let system = SystemRole::ALL.into_iter().filter(|role| *role != SystemRole::Operator);
    let system = system.map(|role| Role::of_system(tx.app(), role, held_by(role.id())));
    let custom = custom.into_iter().map(|role| Role::of_custom(tx.app(), &role, held_by(role.id)));
    Ok(Json(Roles { data: system.chain(custom).collect() }))
}

/// Make a role. It may allow no more than you may do yourself.
#[endpoint("identity.role_name_taken", "identity.too_many_roles", "identity.grants_too_much")]
async fn create_role(Json(new): Json<NewRole>, mut tx: Tx) -> Result<Created<Role>> {
    grants::check_named(&tx, &new.permissions, "/permissions")?;
    check_name(&new.name)?;
    check_count(&mut tx).await?;
    let (tenant, now) = (tx.tenant(), tx.real_now());
    let role = sqlx::query_as!(
        Custom,
        "insert into identity.roles
           (tenant_id, id, name, folded_name, description, permissions, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         returning id, name, description, permissions, version, created_at",
        *tenant,
        *RoleId::new(),
        new.name,
        new.name.to_lowercase(),
        new.description,
        &sorted(new.permissions),
        now as _,
    )
    .fetch_one(tx.db())
    .await
    .on_constraint("roles_name_key", name_taken)?;
    let Custom { id: role_id, name, permissions, .. } = role.clone();
    tx.emit(RoleCreated { role_id, name, permissions }).await?;
    Ok(Created(Role::of_custom(tx.app(), &role, Holders::default())))
}

/// See a role, and by how many it is held.
#[endpoint]
async fn get_role(Path(id): Path<RoleId>, mut tx: Tx) -> Result<WithEtag<Role>> {
    if let Some(role) = SystemRole::from_id(id).filter(|role| *role != SystemRole::Operator) {
        let holders = role_holders::count(&mut tx, id).await?;
        return Ok(Role::of_system(tx.app(), role, holders).into());
    }
    let tenant = tx.tenant();
    let role = sqlx::query_as!(
        Custom,
        "select id, name, description, permissions, version, created_at
         from identity.roles where tenant_id = $1 and id = $2",
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    let holders = role_holders::count(&mut tx, id).await?;
    Ok(Role::of_custom(tx.app(), &role, holders).into())
}

/// Change a custom role; its holders may do what it then allows at once.
///
/// Only for those who may do all that it allows, before and after. With `If-Match`, only if nobody
/// else has changed it meanwhile.
#[endpoint(
    "identity.system_role",
    "identity.role_name_taken",
    "identity.grants_too_much",
    "identity.outranks_you"
)]
async fn update_role(
    Path(id): Path<RoleId>,
    if_match: IfMatch,
    Json(patch): Json<UpdateRole>,
    mut tx: Tx,
) -> Result<WithEtag<Role>> {
    let before = hold(&mut tx, id).await?;
    if_match.check(before.version)?;
    if let Some(names) = &patch.permissions {
        grants::check_named(&tx, names, "/permissions")?;
    }
    let holders = role_holders::count(&mut tx, id).await?;
    let wanted = Custom {
        name: patch.name.unwrap_or_else(|| before.name.clone()),
        description: patch.description.or_default(&before.description, ""),
        permissions: patch.permissions.map_or_else(|| before.permissions.clone(), sorted),
        ..before.clone()
    };
    check_name(&wanted.name)?;
    if wanted == before {
        return Ok(Role::of_custom(tx.app(), &before, holders).into());
    }
    let after = keep(&mut tx, wanted).await?;
    let (old, new) =
        (Role::of_custom(tx.app(), &before, holders), Role::of_custom(tx.app(), &after, holders));
    let event = RoleUpdated { role_id: id, name: after.name, permissions: after.permissions };
    tx.emit_change(event, &old, &new).await?;
    // One word for all its holders: whoever is remembered in this tenant is looked up again.
    let tenant = tx.tenant();
    tx.announce(Change::of("tenant", &tenant));
    Ok(new.into())
}

/// Remove a custom role that nobody holds.
///
/// One that is held is refused, with the number of its holders: move them to another role first
/// with `POST /roles/{id}/reassign`.
#[endpoint("identity.system_role", "identity.role_in_use", "identity.outranks_you")]
async fn delete_role(Path(id): Path<RoleId>, mut tx: Tx) -> Result<NoContent> {
    let Custom { name, permissions, .. } = hold(&mut tx, id).await?;
    let holders = role_holders::count(&mut tx, id).await?;
    if holders != Holders::default() {
        return Err(Error::conflict(
            "identity.role_in_use",
            format!("It is held by {holders}; move them with POST /api/v1/roles/{id}/reassign."),
        ));
    }
    let tenant = tx.tenant();
    sqlx::query!("delete from identity.roles where tenant_id = $1 and id = $2", *tenant, *id)
        .execute(tx.db())
        .await?;
    tx.emit(RoleDeleted { role_id: id, name, permissions }).await?;
    Ok(NoContent)
}

/// A custom role that stays as it is until this transaction ends, and that the caller may touch.
///
/// # Errors
/// 404 when there is none, 403 for a system role and for one that allows more than the caller may.
pub(crate) async fn hold(tx: &mut Tx, id: RoleId) -> Result<Custom> {
    if SystemRole::from_id(id).is_some() {
        return Err(Error::forbidden(
            "identity.system_role",
            "System roles cannot be changed; make a role of your own instead.",
        ));
    }
    let tenant = tx.tenant();
    let role = sqlx::query_as!(
        Custom,
        "select id, name, description, permissions, version, created_at
         from identity.roles where tenant_id = $1 and id = $2 for update",
        *tenant,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    grants::check_power_over(tx, &principal::permissions_of(tx.app(), &[], &role.permissions))?;
    Ok(role)
}

async fn keep(tx: &mut Tx, role: Custom) -> Result<Custom> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Custom,
        "update identity.roles
         set name = $3, folded_name = $4, description = $5, permissions = $6, version = version + 1
         where tenant_id = $1 and id = $2
         returning id, name, description, permissions, version, created_at",
        *tenant,
        *role.id,
        role.name,
        role.name.to_lowercase(),
        role.description,
        &role.permissions,
    )
    .fetch_one(tx.db())
    .await
    .on_constraint("roles_name_key", name_taken)
}

async fn check_count(tx: &mut Tx) -> Result<()> {
    let tenant = tx.tenant();
    // One at a time, or two could both find the last place free.
    sqlx::query!(
        "select tenant_id from core.tenants where tenant_id = $1 for no key update",
        *tenant
    )
    .fetch_one(tx.db())
    .await?;
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from identity.roles where tenant_id = $1"#,
        *tenant,
    )
    .fetch_one(tx.db())
    .await?;
    if count < CUSTOM_MAX {
        return Ok(());
    }
    Err(Error::forbidden(
        "identity.too_many_roles",
        format!("A tenant has at most {CUSTOM_MAX} roles of its own; remove one first."),
    ))
}

/// A custom role called Owner would be taken for the real one.
fn check_name(name: &str) -> Result<()> {
    let folded = name.to_lowercase();
    if SystemRole::ALL.into_iter().any(|role| role.name().to_lowercase() == folded) {
        return Err(name_taken());
    }
    Ok(())
}

const fn purpose(role: SystemRole) -> &'static str {
    match role {
        SystemRole::Owner => "Everything, who owns the tenant included",
        SystemRole::Admin => "Everything but who owns the tenant",
        SystemRole::Member => "Works with content",
        SystemRole::Agent => "Works with conversations, contacts and tickets",
        SystemRole::Viewer => "Sees, changes nothing",
        SystemRole::Operator => "The platform's own staff",
    }
}

fn name_taken() -> Error {
    Error::conflict("identity.role_name_taken", "A role of this tenant has this name already.")
}

fn sorted(names: Vec<String>) -> Vec<String> {
    names.into_iter().collect::<Permissions>().iter().map(ToOwned::to_owned).collect()
}

impl Role {
    fn of_system(app: &App, role: SystemRole, holders: Holders) -> Self {
        Self {
            id: role.id(),
            name: role.name().to_owned(),
            description: purpose(role).to_owned(),
            system: true,
            permissions: app.permissions_of(&[role]).iter().map(ToOwned::to_owned).collect(),
            user_count: holders.users,
            service_account_count: holders.service_accounts,
            created_at: None,
            version: 1,
        }
    }

    /// Says what the role allows now: without permissions that no module declares any more.
    fn of_custom(app: &App, role: &Custom, holders: Holders) -> Self {
        let allows = principal::permissions_of(app, &[], &role.permissions);
        Self {
            id: role.id,
            name: role.name.clone(),
            description: role.description.clone(),
            system: false,
            permissions: allows.iter().map(ToOwned::to_owned).collect(),
            user_count: holders.users,
            service_account_count: holders.service_accounts,
            created_at: Some(role.created_at),
            version: role.version,
        }
    }
}

impl From<Role> for WithEtag<Role> {
    fn from(role: Role) -> Self {
        Self { version: role.version, value: role }
    }
}
