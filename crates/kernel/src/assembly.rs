//! What start-up refuses before anything runs: names used twice, words nobody owns, routes whose
//! permission does not exist.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;

use sqlx::migrate::Migrator;

use crate::database::CORE;
use crate::event::EventRecord;
use crate::http::{Access, Operation};
use crate::module::Module;
use crate::{Named, directory, queue};

/// Everything that does not fit; empty when the application may start.
pub(crate) fn check(modules: &[Module]) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(twice("module", modules.iter().map(|m| m.name)));
    faults.extend(twice(
        "resource",
        modules.iter().flat_map(|m| &m.resources).map(|resource| resource.plural),
    ));
    let prefixes = modules.iter().flat_map(|m| &m.prefixes).copied();
    faults.extend(twice("id prefix", prefixes.chain(OWN_PREFIXES)));
    faults.extend(twice(
        "permission",
        modules.iter().flat_map(|m| &m.permissions).map(|permission| permission.name),
    ));
    faults.extend(twice("event", modules.iter().flat_map(|m| &m.events).map(|event| event.name)));
    faults.extend(twice(
        "route",
        modules
            .iter()
            .flat_map(|m| &m.routes)
            .map(|route| format!("{} {}", route.method, route.path)),
    ));
    let subscribers = modules.iter().flat_map(|m| &m.subscribers);
    faults.extend(twice("subscriber", subscribers.map(|subscriber| subscriber.name)));
    faults.extend(twice("job", modules.iter().flat_map(|m| &m.jobs).map(|job| job.name)));
    let schedules = modules.iter().flat_map(|m| &m.schedules);
    faults.extend(twice("schedule", schedules.map(|schedule| schedule.name)));
    for module in modules {
        faults.extend(words(module));
        faults.extend(routes(module, modules));
    }
    if modules.iter().filter(|module| module.authenticator.is_some()).count() != 1 {
        faults.push("exactly one module must say who is asking (Module::authenticator)".to_owned());
    }
    faults
}

fn twice<T: Hash + Eq + Display>(what: &str, names: impl Iterator<Item = T>) -> Vec<String> {
    let mut counts: HashMap<T, u32> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let twice = counts.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(name, _)| format!("{what} {name} is declared twice; rename one")).collect()
}

/// Permissions and events begin with a word the module owns.
fn words(module: &Module) -> Vec<String> {
    let plurals: HashSet<_> = module.resources.iter().map(|resource| resource.plural).collect();
    let singulars: HashSet<_> = module.resources.iter().map(|resource| resource.singular).collect();
    let mut faults = Vec::new();
    for permission in &module.permissions {
        let word = permission.name.split(':').next().unwrap_or_default();
        if !plurals.contains(word) {
            faults.push(format!(
                "permission {}: module {} does not own the word {word}; add .resource(…)",
                permission.name, module.name
            ));
        }
        if permission.roles.is_empty() {
            faults.push(format!(
                "permission {}: no role holds it; name one in .permission(…)",
                permission.name
            ));
        }
    }
    for event in &module.events {
        let word = event.name.split('.').next().unwrap_or_default();
        if !singulars.contains(word) {
            faults.push(format!(
                "event {}: module {} does not own the word {word}; add .resource(…)",
                event.name, module.name
            ));
        }
        if event.description.trim().is_empty() {
            faults.push(format!("event {}: the struct has no doc comment", event.name));
        }
    }
    faults
}

fn routes(module: &Module, modules: &[Module]) -> Vec<String> {
    let declared: HashSet<_> =
        modules.iter().flat_map(|m| &m.permissions).map(|permission| permission.name).collect();
    let mut faults = Vec::new();
    for route in &module.routes {
        let name = format!("{} {}", route.method, route.path);
        if let Access::Permission(permission) = route.access
            && !declared.contains(permission)
        {
            faults.push(format!("{name}: nobody declares the permission {permission}; declare it with .permission(…), or correct the route"));
        }
        let operation = Operation::of(route);
        if route.access == Access::Public && operation.in_transaction() {
            faults.push(format!("{name}: a public route has no tenant, so it cannot take a Tx; give it a permission, or take Cx"));
        }
        faults.extend(operation.into_clashes().into_iter().map(|clash| {
            format!("{name}: two types are called {}; add #[schema(as = …)]", clash.0)
        }));
    }
    faults
}

/// Each schema of these modules and of the kernel, and the number of its last migration.
pub(crate) fn versions(modules: &[Module]) -> Vec<(&'static str, i64)> {
    let theirs = modules.iter().filter_map(|module| last_of(module.name, module.migrations?));
    last_of("core", &CORE).into_iter().chain(theirs).collect()
}

fn last_of(schema: &'static str, files: &Migrator) -> Option<(&'static str, i64)> {
    Some((schema, files.iter().map(|file| file.version).max()?))
}

/// Prefixes of ids that the kernel hands out itself.
const OWN_PREFIXES: [&str; 8] = [
    directory::Tenant::PREFIX,
    directory::User::PREFIX,
    directory::ServiceAccount::PREFIX,
    crate::actor::Role::PREFIX,
    crate::actor::PortalLink::PREFIX,
    EventRecord::PREFIX,
    queue::JobName::PREFIX,
    "req",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRole;

    #[test]
    fn words_are_owned_and_names_are_used_once() {
        let module = |name| Module::new(name).resource("thing", "things");
        let clash = check(&[module("one"), module("two")]);
        assert!(clash.iter().any(|fault| fault == "resource things is declared twice; rename one"));
        let foreign = Module::new("one").permission("things:read", "See", &[SystemRole::Owner]);
        assert!(
            check(&[foreign]).iter().any(|fault| fault.contains("does not own the word things"))
        );
        let nobody = module("one").permission("things:read", "See", &[]);
        assert!(check(&[nobody]).iter().any(|fault| fault.contains("no role holds it")));
    }
}
