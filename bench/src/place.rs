//! A temporary folder with a durable PostgreSQL in it, which all rows share.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use freehold_embedded_postgres::{Options, SUPERUSER, Server};
use tempfile::TempDir;

/// The database that every row uses.
const DATABASE: &str = "postgres";

/// The folder, and what runs in it.
pub(crate) struct Place {
    // Before the folder, so that the server has stopped when the folder goes.
    server: Server,
    folder: TempDir,
}

impl Place {
    /// Makes the folder and starts PostgreSQL in it. Blocks.
    pub(crate) fn make() -> Result<Self> {
        // Root runs PostgreSQL as another user, who must be able to enter.
        let open = Permissions::from_mode(0o755);
        let folder =
            tempfile::Builder::new().prefix("freehold-bench-").permissions(open).tempdir()?;
        let mut options = Options::new(folder.path().join("postgres"));
        // The application, the bare handlers and pgbench have their connections at the same time.
        options.settings.push(("max_connections".to_owned(), "200".to_owned()));
        let server = Server::start(&options)?;
        Ok(Self { server, folder })
    }

    /// Where a role logs in.
    pub(crate) fn url(&self, role: &str) -> String {
        self.server.url(role, DATABASE)
    }

    /// Where the superuser logs in: no row-level security.
    pub(crate) fn superuser_url(&self) -> String {
        self.url(SUPERUSER)
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program that makes load on PostgreSQL itself.
    pub(crate) fn pgbench(&self) -> PathBuf {
        self.server.binaries().program("pgbench")
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
