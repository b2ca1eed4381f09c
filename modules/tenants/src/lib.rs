#![doc = include_str!("../README.md")]

mod audit;
mod clock;
mod tenant;

use freehold_kernel::Module;
use freehold_kernel::SystemRole::{Admin, Agent, Member, Owner, Viewer};
use freehold_kernel::directory::TenantCreated;

/// The tenants module.
#[must_use]
pub fn module() -> Module {
    Module::new("tenants")
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
