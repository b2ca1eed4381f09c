//! Every rule of `tidy`: a wrong tree yields exactly that finding, a right tree yields none.

mod command;
mod dependencies;
mod directory;
mod files;
mod migrations;
mod new_module;
mod queries;
mod tenants;
mod unchecked;

use std::fs;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// Path and text of each file of a tree.
type Files<'a> = &'a [(&'a str, &'a str)];

/// Writes a workspace; crates without a manifest or a source get plain ones.
fn tree(files: Files<'_>) -> Result<TempDir> {
    let folder = TempDir::new()?;
    let root = folder.path();
    write(root, "Cargo.toml", "[workspace]\nmembers = [\"crates/*\", \"modules/*\", \"bench\"]\n")?;
    // Cargo refuses a pattern of members that nothing matches.
    for folder in ["bench", "crates/xtask", "modules/plain"] {
        complete(root, folder)?;
    }
    for (path, text) in files {
        write(root, path, text)?;
    }
    for (path, _) in files {
        let mut parts = path.split('/');
        if let (Some(first @ ("crates" | "modules")), Some(name)) = (parts.next(), parts.next()) {
            complete(root, &format!("{first}/{name}"))?;
        }
    }
    Ok(folder)
}

fn complete(root: &Path, folder: &str) -> Result<()> {
    let name = match folder.rsplit('/').next() {
        Some(name @ ("freehold" | "xtask" | "bench")) => name.to_owned(),
        name => format!("freehold-{}", name.unwrap_or_default()),
    };
    let manifest = format!("{folder}/Cargo.toml");
    if !root.join(&manifest).exists() {
        write(root, &manifest, &format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n"))?;
    }
    let source = format!("{folder}/src/lib.rs");
    if !root.join(&source).exists() {
        write(root, &source, "//! Empty.\n")?;
    }
    Ok(())
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    let file = root.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(file, text)?)
}

fn findings(files: Files<'_>) -> Result<Vec<String>> {
    let folder = tree(files)?;
    let findings = xtask::tidy(folder.path())?;
    Ok(findings.iter().map(ToString::to_string).collect())
}

/// The tree has one finding, which begins so.
#[track_caller]
fn wrong(files: Files<'_>, expected: &str) {
    match findings(files) {
        Ok(found) => {
            let fits = found.len() == 1 && found[0].starts_with(expected);
            assert!(fits, "expected `{expected}`, found {found:#?}");
        }
        Err(error) => panic!("{error:#}"),
    }
}

/// The tree has no finding.
#[track_caller]
fn right(files: Files<'_>) {
    match findings(files) {
        Ok(found) => assert!(found.is_empty(), "found {found:#?}"),
        Err(error) => panic!("{error:#}"),
    }
}
