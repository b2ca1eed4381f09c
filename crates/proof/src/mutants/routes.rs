//! Lost permissions: what modules registered, changed before the application starts.

use freehold_kernel::{Access, Module, Recent};

/// One route whose rule is weakened.
#[derive(Clone, Debug)]
pub struct RouteMutant {
    /// What is changed, in words.
    pub name: String,
    /// Method and path of the route.
    pub route: String,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Access(Access),
    NotRecent,
    ForCustomers,
}

/// Every way to weaken the rule of every route: nobody need be signed in; no permission is needed;
/// another one, which more roles hold, will do; a recent proof is not asked for; a tenant's customers
/// are let in.
#[must_use]
pub fn route_mutants(mut modules: Vec<Module>) -> Vec<RouteMutant> {
    let widest = modules
        .iter()
        .flat_map(Module::permissions)
        .max_by_key(|permission| permission.roles.len())
        .map(|permission| permission.name);
    let mut mutants = Vec::new();
    for route in modules.iter_mut().flat_map(Module::routes_mut) {
        let name = format!("{} {}", route.method, route.path);
        let mut weaken = |words: &str, change: Change| {
            mutants.push(RouteMutant {
                name: format!("{name} {words}"),
                route: name.clone(),
                change,
            });
        };
        match route.access {
            Access::Public => {}
            Access::SignedIn => weaken("is public", Change::Access(Access::Public)),
            Access::Permission(held) => {
                weaken("is public", Change::Access(Access::Public));
                weaken("needs no permission", Change::Access(Access::SignedIn));
                if let Some(other) = widest.filter(|other| *other != held) {
                    let words = format!("needs {other} instead of {held}");
                    weaken(&words, Change::Access(Access::Permission(other)));
                }
            }
        }
        if route.recent != Recent::No {
            weaken("asks for no recent proof", Change::NotRecent);
        }
        if !route.portal && route.access != Access::Public {
            weaken("is open to customers", Change::ForCustomers);
        }
    }
    mutants
}

impl RouteMutant {
    /// Changes the one route.
    pub fn apply(&self, modules: &mut [Module]) {
        let routes = modules.iter_mut().flat_map(Module::routes_mut);
        for route in routes.filter(|route| format!("{} {}", route.method, route.path) == self.route)
        {
            match self.change {
                Change::Access(access) => route.access = access,
                Change::NotRecent => route.recent = Recent::No,
                Change::ForCustomers => route.portal = true,
            }
        }
    }
}
