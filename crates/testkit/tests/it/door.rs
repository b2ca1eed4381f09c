//! A database that goes away when a test says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use freehold_kernel::Config;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

/// A second way to PostgreSQL's socket, which a test can take away: the database is gone.
pub(crate) struct Door {
    folder: TempDir,
    real: Arc<OnceLock<PathBuf>>,
}

impl Door {
    const SOCKET: &str = ".s.PGSQL.5432";

    pub(crate) fn open() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), real: Arc::default() }
    }

    /// Sends both logins through this door.
    pub(crate) fn through(&self) -> impl FnOnce(&mut Config) + Send + use<> {
        let (folder, real) = (self.folder.path().to_owned(), self.real.clone());
        move |config| {
            for url in [&mut config.database_url, &mut config.database_system_url] {
                let options: PgConnectOptions = url.parse().unwrap();
                let dir = real.get_or_init(|| options.get_socket().unwrap().clone());
                let _ = symlink(dir.join(Self::SOCKET), folder.join(Self::SOCKET));
                let (before, rest) = url.split_once("host=").unwrap();
                let after = rest.split_once('&').unwrap().1;
                *url = format!("{before}host={}&{after}", folder.display());
            }
        }
    }

    pub(crate) fn shut(&self) {
        fs::remove_file(self.folder.path().join(Self::SOCKET)).unwrap();
    }

    pub(crate) fn open_again(&self) {
        let real = self.real.get().unwrap().join(Self::SOCKET);
        symlink(real, self.folder.path().join(Self::SOCKET)).unwrap();
    }
}
