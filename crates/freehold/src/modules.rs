//! The list of modules. Their order is the order in which they migrate.

use freehold_egress::Egress;
use freehold_kernel::Module;

/// What modules leave to the installation.
#[derive(Default)]
pub struct ModuleSettings {
    /// How people join.
    pub identity: freehold_identity::Settings,
    /// How long the log of deliveries keeps what.
    pub webhooks: freehold_webhooks::Settings,
}

/// Every module of the binary. A module that has settings takes them here; what goes out to the
/// world goes through `egress`.
#[must_use]
pub fn modules(settings: ModuleSettings, egress: Egress) -> Vec<Module> {
    vec![
        // modules: begin
        freehold_identity::module(settings.identity),
        freehold_tenants::module(),
        freehold_webhooks::module(settings.webhooks, egress),
        freehold_admin::module(),
        // modules: end
    ]
}
