//! The files that `up` keeps in its folder: secrets, so mode 0600, and replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use freehold_kernel::crypto;

/// The file of the key that seals everything.
pub(super) const SECRET_KEY: &str = "secret.key";

/// The folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A folder that the private PostgreSQL has made.
    pub(super) fn existing(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Makes the folder where it is not there.
    pub(super) fn make(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| anyhow!("cannot make the folder {}: {error}", path.display()))?;
        Ok(Self(path.to_path_buf()))
    }

    /// Where a file lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The content of a file; `None` when it is not there.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => bail!("cannot read {}: {error}", path.display()),
        }
    }

    /// Replaces a file: readers see the old content or the new, also after a power cut.
    pub(super) fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        let new = self.path(&format!("{name}.new"));
        let write = || -> std::io::Result<()> {
            // What a killed start has left might be a link to somewhere else.
            let _ = fs::remove_file(&new);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
    }

    /// The key that seals everything: made once, as long as nothing has been sealed yet.
    pub(super) fn secret_key(&self, is_first_start: bool) -> anyhow::Result<Vec<u8>> {
        if let Some(key) = self.kept_secret_key()? {
            return Ok(key);
        }
        if !is_first_start {
            bail!(
                "{} is missing, and the database is sealed with it. Restore the file from a \
                 backup, or set FREEHOLD_SECRET_KEY to what was in it.",
                self.path(SECRET_KEY).display()
            );
        }
        let key = hex::encode(crypto::random::<32>()?);
        self.write(SECRET_KEY, &format!("{key}\n"))?;
        Ok(key.into_bytes())
    }

    /// The key, if the file is there.
    pub(super) fn kept_secret_key(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(text) = self.read(SECRET_KEY)? else { return Ok(None) };
        let key = text.trim().as_bytes().to_vec();
        if key.len() < 64 {
            bail!("{} is damaged. Restore it from a backup.", self.path(SECRET_KEY).display());
        }
        Ok(Some(key))
    }
}
