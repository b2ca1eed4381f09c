//! The skeleton of a module.

use std::fs;

use anyhow::Result;
use xtask::new_module::{Resource, create};

use crate::{tree, write};

const LIST: &str = "//! The list.
fn all() {
    [
        // modules: begin
        freehold_identity::module(),
        // modules: end
    ];
}
";

#[test]
fn a_new_module_is_tidy_and_stands_in_the_list() -> Result<()> {
    let folder = tree(&[("crates/freehold/src/modules.rs", LIST)])?;
    let root = folder.path();
    // The skeleton's manifest takes its versions from the workspace.
    let names = ["chrono", "garde", "serde", "sqlx", "utoipa", "serde_json", "tokio"];
    let mut manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    manifest.push_str("[workspace.package]\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    manifest.push_str("rust-version = \"1.95\"\nlicense = \"Apache-2.0\"\n[workspace.lints]\n");
    manifest.push_str("[workspace.dependencies]\n");
    for name in names {
        manifest.push_str(&format!("{name} = \"1\"\n"));
    }
    for name in ["kernel", "kernel-derive", "testkit"] {
        manifest.push_str(&format!("freehold-{name} = {{ path = \"crates/{name}\" }}\n"));
        crate::complete(root, &format!("crates/{name}"))?;
    }
    write(root, "Cargo.toml", &manifest)?;

    let resource: Resource = "endpoint,endpoints,whk".parse()?;
    let said = create(root, "webhooks", &resource)?;

    assert!(said.iter().any(|line| line.contains("added `freehold_webhooks::module(),`")));
    let list = fs::read_to_string(root.join("crates/freehold/src/modules.rs"))?;
    assert!(list.contains(
        "identity::module(),\n        freehold_webhooks::module(),\n        // modules: end\n"
    ));
    let source = fs::read_to_string(root.join("modules/webhooks/src/endpoints.rs"))?;
    assert!(!source.contains("{{") && source.contains("struct NewEndpoint {"));
    let findings = xtask::tidy(root)?;
    assert!(findings.is_empty(), "{findings:#?}");
    Ok(())
}

#[test]
fn an_existing_module_is_not_overwritten() -> Result<()> {
    let folder = tree(&[("modules/quota/src/lib.rs", "//! Quota.\n")])?;
    assert!(create(folder.path(), "quota", &Resource::guess("quota")).is_err());
    assert_eq!(fs::read_to_string(folder.path().join("modules/quota/src/lib.rs"))?, "//! Quota.\n");
    Ok(())
}

#[test]
fn a_bad_name_is_refused() -> Result<()> {
    let folder = tree(&[])?;
    let long = "a".repeat(31);
    for name in ["", "Quota", "1a", "web-hooks", "../a", "core", "utils", "pg_x", long.as_str()] {
        assert!(create(folder.path(), name, &Resource::guess("quota")).is_err(), "{name}");
    }
    assert!(create(folder.path(), "api_keys2", &Resource::guess("api_keys")).is_ok());
    Ok(())
}

#[test]
fn the_words_of_a_resource_follow_from_the_name() {
    let words = |name: &str| {
        let resource = Resource::guess(name);
        [resource.singular, resource.plural, resource.prefix].join(",")
    };
    assert_eq!(words("webhooks"), "webhook,webhooks,web");
    assert_eq!(words("quota"), "quota,quotas,quo");
    assert_eq!(words("policies"), "policy,policies,pol");
}
