//! `GET /permissions` and `GET /roles`: what may be allowed, and the roles that bundle it.

use freehold_kernel::{Cx, Json, Result, RoleId, Routes, SystemRole, endpoint};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1").get("/permissions", "roles:read", list_permissions).get(
        "/roles",
        "roles:read",
        list_roles,
    )
}

/// Everything that may be allowed.
#[derive(Serialize, ToSchema)]
#[schema(as = identity::Permissions)]
struct Permissions {
    /// Sorted by name.
    data: Vec<Permission>,
}

/// Something that may be allowed.
#[derive(Serialize, ToSchema)]
#[schema(as = identity::Permission)]
struct Permission {
    /// `<resource>:<verb>`.
    #[schema(example = "tenants:write")]
    name: &'static str,
    /// What it allows.
    #[schema(example = "Change the tenant's name and settings")]
    description: &'static str,
    /// The module it belongs to.
    #[schema(example = "tenants")]
    module: &'static str,
}

/// The roles of this tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = identity::Roles)]
struct Roles {
    /// System roles, most powerful first.
    data: Vec<Role>,
}

/// A bundle of permissions.
#[derive(Serialize, ToSchema)]
#[schema(as = identity::Role)]
struct Role {
    /// The role.
    id: RoleId,
    /// What it is called.
    #[schema(example = "Admin")]
    name: &'static str,
    /// Whether it is one of ours, which nobody can change.
    #[schema(example = true)]
    system: bool,
    /// What it allows.
    #[schema(example = json!(["tenants:read"]))]
    permissions: Vec<String>,
}

/// List every permission there is.
#[endpoint]
async fn list_permissions(cx: Cx) -> Result<Json<Permissions>> {
    let all = cx.app().permissions().iter().filter(|permission| is_for_tenants(permission.roles));
    let data = all
        .map(|declared| Permission {
            name: declared.name,
            description: declared.description,
            module: declared.module,
        })
        .collect();
    Ok(Json(Permissions { data }))
}

/// List the roles of the tenant and what each allows.
#[endpoint]
async fn list_roles(cx: Cx) -> Result<Json<Roles>> {
    let data = SystemRole::ALL
        .into_iter()
        .filter(|role| *role != SystemRole::Operator)
        .map(|role| Role {
            id: role.id(),
            name: role.name(),
            system: true,
            permissions: cx.app().permissions_of(&[role]).iter().map(ToOwned::to_owned).collect(),
        })
        .collect();
    Ok(Json(Roles { data }))
}

/// Operators' permissions exist in the platform tenant only, and are nobody else's business.
fn is_for_tenants(roles: &[SystemRole]) -> bool {
    roles.iter().any(|role| *role != SystemRole::Operator)
}
