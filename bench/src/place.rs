//! A temporary folder with a durable PostgreSQL in it, which all rows share.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use freehold_embedded_postgres::{Options, SUPERUSER, Server};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// The database that every row uses.
const DATABASE: &str = "postgres";

/// Where roles log in to a database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Urls {
    pub(crate) superuser: String,
    pub(crate) app: String,
    pub(crate) system: String,
}

/// The folder, and what runs in it.
pub(crate) struct Place {
    // Before the folder, so that the server has stopped when the folder goes.
    server: Server,
    folder: TempDir,
}

impl Place {
    /// Makes the folder and starts PostgreSQL in it, which counts its statements if asked to.
    /// Blocks.
    pub(crate) fn make(counts_statements: bool) -> Result<Self> {
        // Root runs PostgreSQL as another user, who must be able to enter.
        let open = Permissions::from_mode(0o755);
        let folder =
            tempfile::Builder::new().prefix("freehold-bench-").permissions(open).tempdir()?;
        let mut options = Options::new(folder.path().join("postgres"));
        // The application, the bare handlers and pgbench have their connections at the same time.
        options.settings.push(("max_connections".to_owned(), "200".to_owned()));
        if counts_statements {
            let library = "pg_stat_statements".to_owned();
            options.settings.push(("shared_preload_libraries".to_owned(), library));
        }
        let server = Server::start(&options)?;
        Ok(Self { server, folder })
    }

    /// Where the superuser logs in: no row-level security.
    pub(crate) fn superuser_url(&self) -> String {
        self.server.url(SUPERUSER, DATABASE)
    }

    /// Where the application logs in.
    pub(crate) fn urls(&self) -> Urls {
        self.urls_of(DATABASE)
    }

    /// Makes another database beside the one that every row uses, by this statement; it goes with
    /// the folder.
    pub(crate) async fn database(&self, name: &str, create: &'static str) -> Result<Urls> {
        let mut connection = PgConnection::connect(&self.superuser_url()).await?;
        sqlx::raw_sql(create).execute(&mut connection).await?;
        Ok(self.urls_of(name))
    }

    fn urls_of(&self, database: &str) -> Urls {
        let url = |role| self.server.url(role, database);
        Urls { superuser: url(SUPERUSER), app: url("freehold_app"), system: url("freehold_system") }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program that makes load on PostgreSQL itself.
    pub(crate) fn pgbench(&self) -> PathBuf {
        self.server.binaries().program("pgbench")
    }

    /// The process that all of PostgreSQL's others are children of.
    pub(crate) fn postmaster(&self) -> Result<u32> {
        let file = std::fs::read_to_string(self.server.cluster_dir().join("postmaster.pid"))?;
        Ok(file.lines().next().context("postmaster.pid is empty")?.trim().parse()?)
    }

    /// What PostgreSQL calls itself.
    pub(crate) fn postgres_version(&self) -> &str {
        self.server.binaries().version()
    }

    /// Stops PostgreSQL and removes the folder. Blocks.
    pub(crate) fn remove(self) -> Result<()> {
        self.server.stop()?;
        self.folder.close()?;
        Ok(())
    }
}
