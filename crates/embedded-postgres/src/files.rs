//! Small file operations: files that are replaced as a whole, folders with a mode and an owner.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;

/// Replaces a file as a whole: readers see the old content or the new, also after a power cut.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    // A leftover is removed and not reused: it might be a link to somewhere else.
    let _ = fs::remove_file(&new);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content)?;
        // The umask may have taken bits away which the server's user needs.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(Error::file("write", path))
}

/// Like [`replace`], but leaves a file alone that has the content already. Says whether it wrote.
pub(crate) fn replace_if_changed(path: &Path, content: &[u8], mode: u32) -> Result<bool, Error> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    replace(path, content, mode)?;
    Ok(true)
}

/// Makes one folder; says whether it was made (`false`: something was there already).
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<bool, Error> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => set_mode(path, mode).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::file("create the folder", path)(error)),
    }
}

/// Sets a mode exactly, whatever the umask.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(Error::file("set the mode of", path))
}

/// Gives a file or folder to a user, a group, or both; never follows a link.
pub(crate) fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<(), Error> {
    std::os::unix::fs::lchown(path, uid, gid).map_err(Error::file("change the owner of", path))
}

/// Writes a folder's entries to disk, so that a rename inside it survives a power cut.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", path))
}
