//! The folder of one Freehold (`DIR`): its lock, and `instance.json`, which says who it is.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::files;

/// The content of `instance.json`. The file is written once the cluster is complete; where it
/// exists, so must the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// Random, and never used for another folder.
    pub(crate) id: Uuid,
    /// Where the cluster is: an absolute path, or one relative to the folder, which may move.
    pub(crate) cluster: PathBuf,
}

impl Instance {
    /// Reads the file of a folder; `None` when there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Instance>, Error> {
        let path = dir.join("instance.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        (serde_json::from_slice(&text).map(Some))
            .map_err(|error| Error::Garbled { path, reason: error.to_string() })
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join("instance.json");
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Garbled { path: path.clone(), reason: error.to_string() })?;
        text.push(b'\n');
        files::replace(&path, &text, 0o600)?;
        files::sync_dir(dir)
    }
}

/// A folder that is ours alone for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder, without links or dots in it.
    pub(crate) path: PathBuf,
    /// Whether this call made it.
    pub(crate) created: bool,
    lock: File,
}

impl Folder {
    /// Makes the folder where necessary and locks it.
    pub(crate) fn open(dir: &Path) -> Result<Folder, Error> {
        let created = make(dir)?;
        let path = fs::canonicalize(dir).map_err(Error::file("open the folder", dir))?;
        let lock = lock(&path)?;
        Ok(Folder { path, created, lock })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread is just starting has a
        // copy of it until it runs its program, and would keep the lock for that moment.
        let _ = self.lock.set_len(0);
        let _ = self.lock.unlock();
    }
}

/// Makes the folder with mode 0700, and the folders above it; says whether it was made.
fn make(dir: &Path) -> Result<bool, Error> {
    if dir.is_dir() {
        return Ok(false);
    }
    if let Some(parent) = dir.parent() {
        let recursive = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        recursive.map_err(Error::file("create the folder", parent))?;
    }
    files::make_dir(dir, 0o700)
}

/// Takes the lock and writes our process id into it. The system releases it when we die.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim() } else { "unknown" }.to_string();
            return Err(Error::InUse { dir: dir.to_path_buf(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
    }
    let write = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(Error::file("write", &path))?;
    Ok(file)
}
