//! The list of modules. Their order is the order in which they migrate.

use freehold_kernel::Module;

/// Every module of the binary. A module that has settings takes them here.
#[must_use]
pub fn modules(identity: freehold_identity::Settings) -> Vec<Module> {
    vec![
        // modules: begin
        freehold_identity::module(identity),
        freehold_tenants::module(),
        // modules: end
    ]
}
