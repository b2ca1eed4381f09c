//! Looking in on a server that another process keeps.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::Instance;
use crate::postmaster::PidFile;
use crate::socket;

/// The running server of a folder. It belongs to the Freehold that has started it.
#[derive(Debug, Clone)]
pub struct Running {
    socket_dir: PathBuf,
}

impl Running {
    /// Finds the server of a folder; `None` when there is none, or it does not run.
    #[must_use]
    pub fn find(data_dir: &Path) -> Option<Running> {
        let dir = fs::canonicalize(data_dir).ok()?;
        let instance = Instance::read(&dir).ok()??;
        let file = PidFile::read(&dir.join(instance.cluster))?;
        // What a killed server leaves behind answers nobody; whoever connects will be told.
        let is_there = file.status == "ready" && socket::in_dir(&file.socket_dir).exists();
        is_there.then_some(Running { socket_dir: file.socket_dir })
    }

    /// The URL to connect to a database as a role.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        socket::url(&self.socket_dir, user, database)
    }
}
