//! `cargo xtask tidy`, `cargo xtask sqlx` and `cargo xtask new-module`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xtask::new_module::{self, Resource};

#[derive(Parser)]
#[command(name = "xtask", about = "Keeps the repository tidy and starts new modules")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print every broken rule; fail if there is one.
    Tidy {
        /// The repository; by default the workspace around the current folder.
        #[arg(long)]
        root: Option<PathBuf>,
    },
    /// Renew `.sqlx`, what the query macros know of the database.
    Sqlx {
        /// Only compare, and fail when the files are stale.
        #[arg(long)]
        check: bool,
    },
    /// Write the skeleton of a module.
    NewModule {
        /// One word: crate, folder, schema and prefix.
        name: String,
        /// Its first resource as `singular,plural,prefix`.
        #[arg(long)]
        resource: Option<Resource>,
        /// The repository; by default the workspace around the current folder.
        #[arg(long)]
        root: Option<PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match Arguments::parse().command {
        Command::Tidy { root } => {
            let findings = xtask::tidy(&root_or_workspace(root)?)?;
            for finding in &findings {
                writeln!(out, "{finding}")?;
            }
            if !findings.is_empty() {
                writeln!(out, "{} to tidy", findings.len())?;
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Sqlx { check } => xtask::checked_queries::renew(&root_or_workspace(None)?, check)?,
        Command::NewModule { name, resource, root } => {
            let root = root_or_workspace(root)?;
            let resource = resource.unwrap_or_else(|| Resource::guess(&name));
            for line in new_module::create(&root, &name, &resource)? {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The nearest folder upwards whose manifest declares a workspace.
fn root_or_workspace(root: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(root) = root {
        return Ok(root);
    }
    let here = std::env::current_dir()?;
    let workspace = here.ancestors().find(|folder| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.contains("[workspace]")
    });
    workspace.map(PathBuf::from).context("not inside a workspace; say --root")
}
