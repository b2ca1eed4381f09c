//! Which crates may depend on which.

use crate::{right, wrong};

/// A manifest with these dependency lines, whose first is line 5.
fn manifest(name: &str, dependencies: &str) -> String {
    format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\n{dependencies}\n")
}

fn ours(name: &str) -> String {
    format!("freehold-{name} = {{ path = \"../../crates/{name}\" }}")
}

#[test]
fn a_module_may_not_depend_on_another_module() {
    let wrong_manifest = manifest("freehold-billing", "freehold-quota = { path = \"../quota\" }");
    let files = [
        ("modules/quota/src/lib.rs", "//! Quota.\n"),
        ("modules/billing/Cargo.toml", wrong_manifest.as_str()),
    ];
    wrong(
        &files,
        "modules/billing/Cargo.toml:5: `freehold-billing` may not depend on `freehold-quota`",
    );
    let right_manifest = manifest("freehold-billing", &ours("kernel"));
    right(&[
        ("crates/kernel/src/lib.rs", "//! Kernel.\n"),
        ("modules/billing/Cargo.toml", &right_manifest),
    ]);
}

#[test]
fn a_module_uses_the_testkit_in_tests_only() {
    let testkit = ("crates/testkit/src/lib.rs", "//! Testkit.\n");
    let normal = manifest("freehold-billing", &ours("testkit"));
    wrong(
        &[testkit, ("modules/billing/Cargo.toml", &normal)],
        "modules/billing/Cargo.toml:5: `freehold-billing` may not depend on `freehold-testkit`",
    );
    let dev = normal.replace("[dependencies]", "[dev-dependencies]");
    right(&[testkit, ("modules/billing/Cargo.toml", &dev)]);
}

#[test]
fn only_the_binary_knows_modules() {
    let module = ("modules/quota/src/lib.rs", "//! Quota.\n");
    let quota = "freehold-quota = { path = \"../../modules/quota\" }";
    let egress = manifest("freehold-egress", quota);
    wrong(
        &[module, ("crates/egress/Cargo.toml", &egress)],
        "crates/egress/Cargo.toml:5: `freehold-egress` may not depend on `freehold-quota`",
    );
    let binary = manifest("freehold", quota);
    right(&[module, ("crates/freehold/Cargo.toml", &binary)]);
}

#[test]
fn the_kernel_depends_on_its_derives_only() {
    let others = [
        ("crates/kernel-derive/src/lib.rs", "//! Derives.\n"),
        ("crates/egress/src/lib.rs", "//! Egress.\n"),
    ];
    let wrong_kernel = manifest("freehold-kernel", &ours("egress"));
    wrong(
        &[others[0], others[1], ("crates/kernel/Cargo.toml", &wrong_kernel)],
        "crates/kernel/Cargo.toml:5: `freehold-kernel` may not depend on `freehold-egress`",
    );
    let right_kernel = manifest("freehold-kernel", &ours("kernel-derive"));
    right(&[others[0], others[1], ("crates/kernel/Cargo.toml", &right_kernel)]);
}

#[test]
fn the_private_postgres_depends_on_none_of_ours() {
    let kernel = ("crates/kernel/src/lib.rs", "//! Kernel.\n");
    let postgres = manifest("freehold-embedded-postgres", &ours("kernel"));
    wrong(
        &[kernel, ("crates/embedded-postgres/Cargo.toml", &postgres)],
        "crates/embedded-postgres/Cargo.toml:5: `freehold-embedded-postgres` may not",
    );
    right(&[kernel, ("crates/embedded-postgres/src/lib.rs", "//! Postgres.\n")]);
}

#[test]
fn the_testkit_depends_on_kernel_postgres_and_simulators() {
    let others = [
        ("crates/kernel/src/lib.rs", "//! Kernel.\n"),
        ("crates/embedded-postgres/src/lib.rs", "//! Postgres.\n"),
        ("crates/simulators/src/lib.rs", "//! Simulators.\n"),
        ("crates/egress/src/lib.rs", "//! Egress.\n"),
    ];
    let with = |lines: &str| manifest("freehold-testkit", lines);
    let wrong_testkit = with(&ours("egress"));
    let mut files = others.to_vec();
    files.push(("crates/testkit/Cargo.toml", &wrong_testkit));
    wrong(&files, "crates/testkit/Cargo.toml:5: `freehold-testkit` may not");
    let right_testkit =
        with(&[ours("kernel"), ours("embedded-postgres"), ours("simulators")].join("\n"));
    let mut files = others.to_vec();
    files.push(("crates/testkit/Cargo.toml", &right_testkit));
    right(&files);
}
