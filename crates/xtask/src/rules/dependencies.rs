//! Which of our crates may depend on which.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::tree::{Dependency, Package, Tree};

/// What one of our crates may depend on among ours.
struct Allowance {
    /// For what is built into the product.
    normal: &'static [&'static str],
    /// Additionally for its tests.
    dev: &'static [&'static str],
}

const MODULE: Allowance = Allowance {
    normal: &["freehold-kernel", "freehold-kernel-derive", "freehold-egress"],
    dev: &["freehold-testkit", "freehold-simulators"],
};

/// Crates with a fixed list; any other crate may depend on everything but modules.
const CRATES: [(&str, Allowance); 5] = [
    ("freehold-kernel", Allowance { normal: &["freehold-kernel-derive"], dev: &[] }),
    ("freehold-kernel-derive", Allowance { normal: &[], dev: &[] }),
    ("freehold-embedded-postgres", Allowance { normal: &[], dev: &[] }),
    ("freehold-proof", Allowance { normal: &["freehold-kernel"], dev: &[] }),
    (
        "freehold-testkit",
        Allowance {
            normal: &[
                "freehold-kernel",
                "freehold-embedded-postgres",
                "freehold-proof",
                "freehold-simulators",
            ],
            dev: &[],
        },
    ),
];

/// Reports every dependency that goes the wrong way.
pub fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let ours: BTreeSet<&str> = tree.packages.iter().map(|package| package.name.as_str()).collect();
    let modules: BTreeSet<&str> = tree
        .packages
        .iter()
        .filter(|package| is_module(package))
        .map(|package| package.name.as_str())
        .collect();
    for package in &tree.packages {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let allowed = !ours.contains(name)
                || match allowance(package) {
                    Some(allowance) => allows(allowance, dependency),
                    None => may_know_modules(package) || !modules.contains(name),
                };
            if !allowed {
                findings.push(finding(package, dependency));
            }
        }
    }
}

fn is_module(package: &Package) -> bool {
    package.manifest.starts_with("modules/")
}

fn may_know_modules(package: &Package) -> bool {
    let folder = package.manifest.trim_end_matches("Cargo.toml");
    folder.starts_with("bench/") || matches!(folder, "crates/freehold/" | "crates/xtask/")
}

fn allowance(package: &Package) -> Option<&'static Allowance> {
    if is_module(package) {
        return Some(&MODULE);
    }
    CRATES.iter().find(|(name, _)| *name == package.name).map(|(_, allowance)| allowance)
}

fn allows(allowance: &Allowance, dependency: &Dependency) -> bool {
    let name = dependency.name.as_str();
    let is_dev = dependency.kind.as_deref() == Some("dev");
    allowance.normal.contains(&name) || (is_dev && allowance.dev.contains(&name))
}

fn finding(package: &Package, dependency: &Dependency) -> Finding {
    let line = package
        .manifest_text
        .lines()
        .position(|line| {
            let rest = line.trim_start().strip_prefix(&dependency.name);
            rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        })
        .map_or(1, |index| index + 1);
    let kind = match dependency.kind.as_deref() {
        Some("dev") => "in tests ",
        Some("build") => "in its build ",
        _ => "",
    };
    Finding::new(
        &package.manifest,
        line,
        format!("`{}` may not depend {kind}on `{}`", package.name, dependency.name),
        "modules meet through events or a port of the kernel; dependencies point inwards",
    )
}
