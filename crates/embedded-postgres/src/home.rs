//! The home of a cluster: the folder itself, or `/var/lib/freehold/<id>` where that cannot be.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::binaries::Binaries;
use crate::error::Error;
use crate::files;
use crate::folder::{Folder, Instance};
use crate::user::User;

/// Where clusters live that cannot live in their folder.
pub(crate) const SYSTEM_DIR: &str = "/var/lib/freehold";

/// Names, inside a home in the system folder, the folder that it belongs to.
pub(crate) const OWNER_FILE: &str = "owner";

const CLUSTER: &str = "cluster";

/// Where one cluster and its configuration live, and who may touch them.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) id: Uuid,
    /// Holds the cluster and its configuration; belongs to the user that runs Freehold.
    pub(crate) path: PathBuf,
    /// The data; belongs to the user that runs the server.
    pub(crate) cluster: PathBuf,
    /// Who we are.
    pub(crate) current: User,
    /// Who runs the server.
    pub(crate) server_user: User,
    /// Whether there is no database yet.
    pub(crate) is_new: bool,
}

impl Home {
    /// The home that `instance.json` remembers; `None` for a new folder.
    pub(crate) fn known(folder: &Folder) -> Result<Option<Home>, Error> {
        let dir = &folder.path;
        let Some(instance) = Instance::read(dir)? else {
            return Ok(None);
        };
        let cluster = dir.join(&instance.cluster);
        if !cluster.join("PG_VERSION").is_file() {
            return Err(Error::ClusterMissing { dir: dir.clone(), cluster });
        }
        let path = cluster.parent().unwrap_or(dir).to_path_buf();
        if path != *dir {
            claim(&path, dir, instance.id)?;
        }
        let current = User::current()?;
        let server_user = User::of_server(&current, &cluster)?;
        Ok(Some(Home { id: instance.id, path, cluster, current, server_user, is_new: false }))
    }

    /// Chooses and prepares a home for a folder that has none.
    pub(crate) fn found(folder: &Folder, binaries: &Binaries) -> Result<Home, Error> {
        let id = Uuid::new_v4();
        let current = User::current()?;
        let here = folder.path.join(CLUSTER);
        let server_user = User::of_server(&current, &here)?;
        // A cluster without an instance.json: we were killed between the two.
        let is_new = !here.join("PG_VERSION").is_file();
        let path = if !is_new || lets_in(folder, &current, &server_user, binaries)? {
            folder.path.clone()
        } else {
            found_in_system(&folder.path, id, &server_user)?
        };
        let cluster = path.join(CLUSTER);
        Ok(Home { id, path, cluster, current, server_user, is_new })
    }

    /// Whether the cluster lives outside of the folder.
    pub(crate) fn is_elsewhere(&self, folder: &Folder) -> bool {
        self.path != folder.path
    }

    /// Writes down, in the folder, that it has a complete cluster and where.
    pub(crate) fn record(&self, folder: &Folder) -> Result<(), Error> {
        let inside = PathBuf::from(CLUSTER);
        let cluster = if self.is_elsewhere(folder) { self.cluster.clone() } else { inside };
        Instance { id: self.id, cluster }.write(&folder.path)
    }
}

/// Whether the server's user can live in the folder. One that we have just made is opened to it as
/// far as needed: its group may pass through, and neither list nor write.
fn lets_in(
    folder: &Folder,
    current: &User,
    server_user: &User,
    binaries: &Binaries,
) -> Result<bool, Error> {
    if current == server_user {
        return Ok(true);
    }
    let postgres = binaries.program("postgres");
    if folder.created {
        let above = folder.path.parent().unwrap_or(&folder.path);
        if !server_user.can_enter(above, &postgres) {
            return Ok(false);
        }
        open_to(&folder.path, server_user)?;
    }
    Ok(server_user.can_enter(&folder.path, &postgres))
}

/// Lets the user's group pass through a folder of ours.
fn open_to(path: &Path, user: &User) -> Result<(), Error> {
    files::chown(path, None, Some(user.gid))?;
    files::set_mode(path, 0o710)
}

/// Makes a home in the system folder.
fn found_in_system(dir: &Path, id: Uuid, server_user: &User) -> Result<PathBuf, Error> {
    let system = Path::new(SYSTEM_DIR);
    files::make_dir(system, 0o755)?;
    let path = system.join(id.to_string());
    files::make_dir(&path, 0o700)?;
    write_owner(&path, dir)?;
    open_to(&path, server_user)?;
    Ok(path)
}

/// Makes sure that a home in the system folder is this folder's, which may have been moved, and
/// not that of another folder of which this one is a copy.
fn claim(home: &Path, dir: &Path, id: Uuid) -> Result<(), Error> {
    let Some(owner) = owner(home) else {
        return write_owner(home, dir);
    };
    if owner == dir {
        return Ok(());
    }
    let same_folder = match (fs::metadata(&owner), fs::metadata(dir)) {
        (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    };
    if !same_folder && belongs_to(&owner, id) {
        return Err(Error::NotOurs { home: home.to_path_buf(), owner, dir: dir.to_path_buf() });
    }
    write_owner(home, dir)
}

/// Whether a folder is there and has this id.
fn belongs_to(dir: &Path, id: Uuid) -> bool {
    matches!(Instance::read(dir), Ok(Some(instance)) if instance.id == id)
}

/// The folder that a home in the system folder was made for.
pub(crate) fn owner(home: &Path) -> Option<PathBuf> {
    let mut path = fs::read(home.join(OWNER_FILE)).ok()?;
    path.pop_if(|last| *last == b'\n');
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

fn write_owner(home: &Path, dir: &Path) -> Result<(), Error> {
    let mut line = dir.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    files::replace(&home.join(OWNER_FILE), &line, 0o600)
}
