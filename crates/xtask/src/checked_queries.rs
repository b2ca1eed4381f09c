//! `cargo xtask sqlx`: renews `.sqlx`, what the query macros know of the database, so that a build
//! needs none. With `--check`, fails when the files are not what they would be.
//!
//! Migrations are applied from their files, not by the binary: a query and the column it names may
//! be new together, and then the binary does not build yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use freehold_embedded_postgres::{Options, SUPERUSER, Server};

const DATABASE: &str = "queries";

/// Writes `.sqlx` anew, or only compares.
pub fn renew(root: &Path, check: bool) -> Result<()> {
    let mut options = Options::new(root.join("target/sqlxdb"));
    options.durable = false;
    let server = Server::start(&options)?;
    migrate(root, &server)?;
    let fresh = root.join("target/sqlx-fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    check_all_queries(root, &fresh, &server.url(SUPERUSER, DATABASE))?;
    let kept = root.join(".sqlx");
    let (before, after) = (read_all(&kept)?, read_all(&fresh)?);
    // An unchanged tree may compile nothing and write nothing; that must not pass for agreement.
    ensure!(!after.is_empty(), "no query was checked; is a crate with a sqlx.toml being built?");
    if check {
        return compare(&before, &after);
    }
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    fs::create_dir_all(&kept)?;
    for (name, text) in &after {
        fs::write(kept.join(name), text)?;
    }
    Ok(())
}

/// A database with every migration, applied as its owner.
fn migrate(root: &Path, server: &Server) -> Result<()> {
    let psql = |database: &str, script: &str| -> Result<()> {
        let done = Command::new(server.binaries().program("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(server.url(SUPERUSER, database))
            .args(["-c", script])
            .env("PGOPTIONS", "-c client_min_messages=error")
            .stdout(Stdio::null())
            .status()?;
        ensure!(done.success(), "psql failed; the migration above says where");
        Ok(())
    };
    psql("postgres", &format!("drop database if exists {DATABASE}"))?;
    psql("postgres", &format!("create database {DATABASE}"))?;
    psql(DATABASE, &fs::read_to_string(root.join("crates/kernel/src/database/roles.sql"))?)?;
    psql(DATABASE, &format!("grant create on database {DATABASE} to freehold_owner"))?;
    for (schema, folder) in schemas(root)? {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        let mut script = format!("set role freehold_owner; create schema {schema};\n");
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "sql")) {
            script.push_str(&fs::read_to_string(file)?);
        }
        psql(DATABASE, &script).with_context(|| format!("schema {schema}"))?;
    }
    Ok(())
}

/// The kernel's schema first; between modules the order is free, because none points at another.
fn schemas(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut schemas = vec![("core".to_owned(), root.join("crates/kernel/migrations"))];
    for entry in fs::read_dir(root.join("modules"))? {
        let entry = entry?;
        let folder = entry.path().join("migrations");
        if folder.is_dir() {
            schemas.push((entry.file_name().to_string_lossy().into_owned(), folder));
        }
    }
    Ok(schemas)
}

/// Builds every crate that has queries, with the database at hand.
fn check_all_queries(root: &Path, fresh: &Path, url: &str) -> Result<()> {
    for folder in ["crates", "modules"] {
        for entry in fs::read_dir(root.join(folder))? {
            let folder = entry?.path();
            if folder.join("sqlx.toml").is_file() {
                // The macros' results are cached with the crate; only a newer file renews them.
                let source = folder.join("src/lib.rs");
                fs::File::options()
                    .append(true)
                    .open(&source)?
                    .set_modified(std::time::SystemTime::now())?;
            }
        }
    }
    let built = Command::new("cargo")
        .args(["check", "--quiet", "--workspace", "--all-targets"])
        .current_dir(root)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", fresh)
        .env("SQLX_DATABASE_URL", url)
        .status()?;
    ensure!(built.success(), "a query does not fit the schema");
    Ok(())
}

fn read_all(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read_to_string(entry.path())?);
    }
    Ok(files)
}

fn compare(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<()> {
    let missing: Vec<&String> = after
        .iter()
        .filter(|(name, text)| before.get(*name) != Some(text))
        .map(|(n, _)| n)
        .collect();
    let left_over: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    if missing.is_empty() && left_over.is_empty() {
        return Ok(());
    }
    bail!(
        ".sqlx is stale: {} to write ({missing:?}), {} left over ({left_over:?}); type `make sqlx`",
        missing.len(),
        left_over.len()
    )
}
