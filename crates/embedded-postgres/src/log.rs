//! `postgres.log`: where the server writes, and the end of it for error messages.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// From this size on, the log is moved aside at the next start.
const LARGEST: u64 = 10 * 1024 * 1024;

/// The log of one folder.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// How long it was when we came: older lines explain nothing.
    start: u64,
}

impl Log {
    /// Finds the log of a folder, and moves a long one aside.
    pub(crate) fn of(dir: &Path) -> Result<Log, Error> {
        let path = dir.join("postgres.log");
        let mut start = fs::metadata(&path).map_or(0, |found| found.len());
        if start > LARGEST {
            let old = dir.join("postgres.log.1");
            fs::rename(&path, &old).map_err(Error::file("rename", &path))?;
            start = 0;
        }
        Ok(Log { path, start })
    }

    /// Opens it for a server to write to.
    pub(crate) fn open(&self) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&self.path);
        file.map_err(Error::file("open", &self.path))
    }

    /// An error that shows the last lines since we came.
    pub(crate) fn not_ready(&self, what: String) -> Error {
        Error::NotReady { what, log: self.path.clone(), tail: self.tail(20) }
    }

    fn tail(&self, lines: usize) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.start))?;
            let mut bytes = Vec::new();
            file.take(LARGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}
