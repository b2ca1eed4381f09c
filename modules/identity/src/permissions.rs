//! `GET /permissions`: everything that may be allowed, for whoever edits roles.

use freehold_kernel::{App, Cx, Json, Result, Routes, SystemRole, endpoint};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1").get("/permissions", "roles:read", list_permissions)
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
#[serde(rename_all = "camelCase")]
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
    /// The system roles that hold it, most powerful first.
    #[schema(example = json!(["Owner", "Admin"]))]
    system_roles: Vec<&'static str>,
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
            system_roles: system_roles(declared.roles),
        })
        .collect();
    Ok(Json(Permissions { data }))
}

/// Whether a tenant may put a permission of this name into a role of its own.
pub(crate) fn is_offered(app: &App, name: &str) -> bool {
    let all = app.permissions();
    all.binary_search_by(|declared| declared.name.cmp(name))
        .is_ok_and(|place| is_for_tenants(all[place].roles))
}

fn system_roles(holders: &[SystemRole]) -> Vec<&'static str> {
    let offered = SystemRole::ALL.into_iter().filter(|role| *role != SystemRole::Operator);
    offered.filter(|role| holders.contains(role)).map(SystemRole::name).collect()
}

/// Operators' permissions exist in the platform tenant only, and are nobody else's business.
fn is_for_tenants(roles: &[SystemRole]) -> bool {
    roles.iter().any(|role| *role != SystemRole::Operator)
}
