//! The skeleton of a module.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;
use walkdir::WalkDir;
use xtask::new_module::{Resource, create};

use crate::{tree, write};

const WORKSPACE: &str = r#"[workspace]
members = ["bench", "crates/*", "modules/*"]

[workspace.package]
version = "0.1.0"
edition = "2024"
rust-version = "1.95"
license = "Apache-2.0"

[workspace.lints]

[workspace.dependencies]
# --- ours
freehold-kernel = { path = "crates/kernel" }
freehold-testkit = { path = "crates/testkit" }
freehold-identity = { path = "modules/identity" }
# --- run time
garde = "1"
serde = "1"
serde_json = "1"
sqlx = "1"
tokio = "1"
utoipa = "1"
"#;

const PRODUCT: &str = r#"[package]
name = "freehold"
edition = "2024"

[dependencies]
freehold-identity.workspace = true
freehold-kernel.workspace = true
serde.workspace = true
"#;

const LIST: &str = "//! The list.
fn all() {
    [
        // modules: begin
        freehold_identity::module(),
        // modules: end
    ];
}
";

/// A workspace like ours, as far as a new module touches it.
fn workspace() -> Result<TempDir> {
    tree(&[
        ("Cargo.toml", WORKSPACE),
        ("crates/freehold/Cargo.toml", PRODUCT),
        ("crates/freehold/src/modules.rs", LIST),
        ("crates/kernel/src/lib.rs", "//! The kernel.\n"),
        ("crates/testkit/src/lib.rs", "//! The test kit.\n"),
        ("modules/identity/src/lib.rs", "//! Identity.\n"),
    ])
}

#[test]
fn a_new_module_is_tidy_and_stands_in_every_list() -> Result<()> {
    let folder = workspace()?;
    let root = folder.path();
    let said = create(root, "webhooks", &"endpoint,endpoints,whk".parse()?)?;

    assert!(said.iter().any(|line| line.starts_with("added `freehold_webhooks::module(),` to")));
    assert!(!said.iter().any(|line| line.contains("by hand")), "{said:#?}");
    let read = |path: &str| fs::read_to_string(root.join(path));
    assert!(read("Cargo.toml")?.contains(
        "modules/identity\" }\nfreehold-webhooks = { path = \"modules/webhooks\" }\n# --- run time\n"
    ));
    assert!(read("crates/freehold/Cargo.toml")?.contains(
        "freehold-kernel.workspace = true\nfreehold-webhooks.workspace = true\nserde.workspace"
    ));
    assert!(read("crates/freehold/src/modules.rs")?.contains(
        "identity::module(),\n        freehold_webhooks::module(),\n        // modules: end\n"
    ));
    // `tidy` asks cargo for the packages, so the manifests are right as well.
    let findings = xtask::tidy(root)?;
    assert!(findings.is_empty(), "{findings:#?}");
    Ok(())
}

#[test]
fn every_word_stands_in_the_form_its_place_asks_for() -> Result<()> {
    let folder = workspace()?;
    create(folder.path(), "catalog", &"unit_price,unit_prices,prc".parse()?)?;
    let module = folder.path().join("modules/catalog");
    let source = fs::read_to_string(module.join("src/unit_prices.rs"))?;
    for words in [
        "Routes::at(\"/api/v1/unit-prices\")",
        ".get(\"/\", \"unit-prices:read\", list_unit_prices)",
        "async fn create_unit_price(",
        "/// A unit price was made.",
        "#[event(type = \"unitprice.created\", subject = unit_price_id)]",
        "from catalog.unit_prices",
    ] {
        assert!(source.contains(words), "{words}");
    }
    for file in WalkDir::new(&module).into_iter().filter_map(Result::ok) {
        if file.file_type().is_file() {
            let text = fs::read_to_string(file.path())?;
            assert!(!text.contains("{{"), "{} says {{{{", file.path().display());
        }
    }
    Ok(())
}

#[test]
fn a_line_that_is_there_is_not_added_again_and_one_without_a_place_is_left_to_people() -> Result<()>
{
    let folder = workspace()?;
    let root = folder.path();
    write(root, "crates/freehold/src/modules.rs", "//! No marks.\n")?;
    let resource = "endpoint,endpoints,whk".parse()?;
    create(root, "webhooks", &resource)?;
    fs::remove_dir_all(root.join("modules/webhooks"))?;
    let before = fs::read_to_string(root.join("Cargo.toml"))?;
    let said = create(root, "webhooks", &resource)?;
    assert_eq!(fs::read_to_string(root.join("Cargo.toml"))?, before);
    assert!(said.iter().any(|line| line.ends_with("add `freehold_webhooks::module(),` by hand")));
    Ok(())
}

#[test]
fn a_word_that_the_skeleton_needs_itself_is_refused() -> Result<()> {
    let folder = tree(&[])?;
    for resource in ["page,pages,pag", "event,events,evt", "thing,static,thg"] {
        assert!(create(folder.path(), "quota", &resource.parse()?).is_err(), "{resource}");
    }
    assert!(create(folder.path(), "xtask", &Resource::guess("quota")).is_err(), "a crate");
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
