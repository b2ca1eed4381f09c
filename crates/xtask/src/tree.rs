//! The repository as the rules see it: every file read and parsed once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use walkdir::{DirEntry, WalkDir};

use crate::catalogue::Catalogue;
use crate::queries::{self, Query};
use crate::rust_source::{self, RustFile};
use crate::sql_text::{self, Piece};

/// Folders that hold what people write; everything else at the root is left alone.
const FOLDERS: [&str; 5] = ["bench", "console", "crates", "deploy", "modules"];

/// Folders that hold what machines write.
const SKIPPED: [&str; 4] = ["dist", "generated", "node_modules", "target"];

/// Whose code a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// `crates/kernel`, whose schema is `core`.
    Kernel,
    /// `modules/<name>`, whose schema is its name.
    Module(String),
    /// Anything else.
    Other,
}

impl Home {
    /// Reads it from a path relative to the root.
    pub fn of(path: &str) -> Self {
        let mut parts = path.split('/');
        match (parts.next(), parts.next()) {
            (Some("crates"), Some("kernel")) => Self::Kernel,
            (Some("modules"), Some(name)) => Self::Module(name.to_owned()),
            _ => Self::Other,
        }
    }

    /// The SQL schema it owns.
    pub fn schema(&self) -> Option<&str> {
        match self {
            Self::Kernel => Some("core"),
            Self::Module(name) => Some(name),
            Self::Other => None,
        }
    }
}

/// A package of the workspace, as cargo sees it.
#[derive(Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    manifest_path: PathBuf,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// The manifest, relative to the root.
    #[serde(skip)]
    pub manifest: String,
    /// The manifest's text.
    #[serde(skip)]
    pub manifest_text: String,
}

/// One line of a package's dependencies.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package depended on.
    pub name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub kind: Option<String>,
}

/// A file that is not Rust.
pub struct TextFile {
    /// Path relative to the root.
    pub path: String,
    /// The text as it stands.
    pub text: String,
}

/// A migration of the kernel or a module.
pub struct Migration {
    /// Path relative to the root.
    pub path: String,
    /// Whose it is.
    pub home: Home,
    /// The text as it stands.
    pub text: String,
    /// Its statements.
    pub pieces: Vec<Piece>,
}

/// A query in `.sqlx/`.
#[derive(Deserialize)]
pub struct OfflineQuery {
    /// The SQL.
    pub query: String,
    /// Path relative to the root.
    #[serde(skip)]
    pub path: String,
}

/// Everything the rules look at.
pub struct Tree {
    /// All packages of the workspace.
    pub packages: Vec<Package>,
    /// All folders and files people name, relative to the root.
    pub names: Vec<String>,
    /// All Rust files.
    pub rust: Vec<RustFile>,
    /// TypeScript and SQL files.
    pub texts: Vec<TextFile>,
    /// Migrations in the order of their names.
    pub migrations: Vec<Migration>,
    /// SQL in sqlx's macros outside tests.
    pub queries: Vec<Query>,
    /// What sqlx has stored for builds without a database.
    pub offline: Vec<OfflineQuery>,
    /// What the migrations say about tables.
    pub catalogue: Catalogue,
}

impl Tree {
    /// Reads the repository at `root`.
    pub fn load(root: &Path) -> Result<Self> {
        let root = root.canonicalize().with_context(|| format!("no folder {}", root.display()))?;
        let mut tree = Self {
            packages: packages(&root)?,
            names: Vec::new(),
            rust: Vec::new(),
            texts: Vec::new(),
            migrations: Vec::new(),
            queries: Vec::new(),
            offline: offline_queries(&root)?,
            catalogue: Catalogue::default(),
        };
        for folder in FOLDERS {
            let folder = root.join(folder);
            if folder.is_dir() {
                tree.load_folder(&root, &folder)?;
            }
        }
        tree.find_queries(&root);
        tree.catalogue = Catalogue::read(&tree.migrations);
        Ok(tree)
    }

    fn load_folder(&mut self, root: &Path, folder: &Path) -> Result<()> {
        let walk = WalkDir::new(folder).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(is_ours) {
            let entry = entry?;
            let path = relative(root, entry.path());
            self.names.push(path.clone());
            if entry.file_type().is_file() {
                self.load_file(entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn load_file(&mut self, file: &Path, path: String) -> Result<()> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("rs" | "ts" | "tsx" | "sql")) {
            return Ok(());
        }
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {path}"))?;
        if is_generated(&path, &text) {
            return Ok(());
        }
        if extension == Some("rs") {
            self.rust.push(RustFile::new(path, text));
            return Ok(());
        }
        if is_migration(&path) {
            let pieces = sql_text::split(&text);
            let (home, text, path) = (Home::of(&path), text.clone(), path.clone());
            self.migrations.push(Migration { path, home, text, pieces });
        }
        self.texts.push(TextFile { path, text });
        Ok(())
    }

    fn find_queries(&mut self, root: &Path) {
        for file in self.rust.iter().filter(|file| !rust_source::is_test_path(&file.path)) {
            let mut parts = file.path.splitn(3, '/');
            let (Some(first), Some(second)) = (parts.next(), parts.next()) else {
                continue;
            };
            let crate_folder = format!("{first}/{second}");
            self.queries.extend(queries::find(file, root, &crate_folder));
        }
    }

    /// All SQL text that stands in the sources.
    pub fn source_sql(&self) -> BTreeSet<&str> {
        self.queries.iter().filter_map(|query| query.sql.as_deref()).collect()
    }
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let mut packages = metadata.packages;
    for package in &mut packages {
        package.manifest = relative(root, &package.manifest_path);
        package.manifest_text = fs::read_to_string(&package.manifest_path)?;
    }
    Ok(packages)
}

fn offline_queries(root: &Path) -> Result<Vec<OfflineQuery>> {
    let folder = root.join(".sqlx");
    let mut queries = Vec::new();
    if !folder.is_dir() {
        return Ok(queries);
    }
    for entry in WalkDir::new(&folder).max_depth(1).sort_by_file_name() {
        let entry = entry?;
        if entry.path().extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let path = relative(root, entry.path());
        let text = fs::read_to_string(entry.path())?;
        let mut query: OfflineQuery = serde_json::from_str(&text).with_context(|| path.clone())?;
        query.path = path;
        queries.push(query);
    }
    Ok(queries)
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn is_ours(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let skipped = entry.file_type().is_dir() && SKIPPED.contains(&name.as_ref());
    !skipped && !name.starts_with('.')
}

fn is_generated(path: &str, text: &str) -> bool {
    path.contains(".generated.") || text.lines().take(5).any(|line| line.contains("@generated"))
}

fn is_migration(path: &str) -> bool {
    Home::of(path) != Home::Other && path.ends_with(".sql") && path.contains("/migrations/")
}
