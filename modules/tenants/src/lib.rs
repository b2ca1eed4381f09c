#![doc = include_str!("../README.md")]

mod audit;
mod clock;
mod standing;
mod status;
mod tenant;
mod tenant_list;
mod tenants;

use freehold_kernel::Module;
use freehold_kernel::SystemRole::{Admin, Agent, Member, Operator, Owner, Viewer};
use freehold_kernel::directory::{TenantCreated, TenantPurged};

/// The tenants module.
#[must_use]
pub fn module() -> Module {
    for_operators(Module::new("tenants"))
        .resource("tenant", "tenants")
        .resource("audit", "audit")
        .permission(
            "tenants:read",
            "See the tenant's name and settings",
            &[Owner, Admin, Member, Agent, Viewer],
        )
        .permission("tenants:write", "Change the tenant's name and settings", &[Owner, Admin])
        .permission("audit:read", "See who did what", &[Owner, Admin])
        .publishes::<TenantCreated>()
        .publishes::<tenant::TenantUpdated>()
        .publishes::<audit::AuditRead>()
        .publishes::<clock::ClockMoved>()
        .routes(tenant::routes())
        .routes(clock::routes())
        .routes(audit::routes())
}

/// Operators and all tenants: what no role of a customer's allows.
fn for_operators(module: Module) -> Module {
    module
        .permission("tenants:oversee", "See every tenant of the installation", &[Operator])
        .permission(
            "tenants:operate",
            "Make, change, suspend, close and reopen tenants",
            &[Operator],
        )
        .publishes::<TenantPurged>()
        .publishes::<tenants::TenantReadByOperator>()
        .publishes::<tenant_list::TenantListed>()
        .publishes::<tenants::TenantOwnerNamed>()
        .publishes::<status::TenantSuspended>()
        .publishes::<status::TenantActivated>()
        .publishes::<status::TenantClosed>()
        .routes(tenant_list::routes())
        .routes(tenants::routes())
        .routes(status::routes())
}
