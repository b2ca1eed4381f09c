//! The list of modules. Their order is the order in which they migrate.

use freehold_egress::Egress;
use freehold_kernel::Module;

/// Every module of the binary. A module that has settings takes them here; what goes out to the
/// world goes through `egress`.
#[must_use]
pub fn modules(identity: freehold_identity::Settings, egress: Egress) -> Vec<Module> {
    vec![
        // modules: begin
        freehold_identity::module(identity),
        freehold_tenants::module(),
        freehold_webhooks::module(egress),
        freehold_admin::module(),
        // modules: end
    ]
}
