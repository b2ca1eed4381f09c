//! Making a new cluster with `initdb`, and telling which version made an existing one.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use uuid::Uuid;

use crate::SUPERUSER;
use crate::binaries::Binaries;
use crate::error::Error;
use crate::files;
use crate::home::Home;

/// Clusters that are not complete have this in front of their name.
const UNFINISHED: &str = "cluster.new-";

/// The major version that made a cluster.
pub(crate) fn major(cluster: &Path) -> Result<u32, Error> {
    let path = cluster.join("PG_VERSION");
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let reason = || format!("{:?} is not a version of PostgreSQL", text.trim());
    text.trim().parse().map_err(|_| Error::Garbled { path, reason: reason() })
}

/// Makes the cluster of a home: under another name first, so that being killed on the way leaves
/// no half cluster behind.
pub(crate) fn create(home: &Home, binaries: &Binaries, durable: bool) -> Result<(), Error> {
    remove_unfinished(&home.path);
    let unfinished = home.path.join(format!("{UNFINISHED}{}", Uuid::new_v4()));
    files::make_dir(&unfinished, 0o700)?;
    if home.current.is_root() {
        let user = &home.server_user;
        files::chown(&unfinished, Some(user.uid), Some(user.gid))?;
    }
    let made = initdb(home, &unfinished, binaries, durable);
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, &home.cluster).map_err(Error::file("rename", &unfinished))?;
    files::sync_dir(&home.path)
}

fn remove_unfinished(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(UNFINISHED.as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn initdb(home: &Home, target: &Path, binaries: &Binaries, durable: bool) -> Result<(), Error> {
    let program = binaries.program("initdb");
    let mut output = String::new();
    for locale in locales(binaries.major()) {
        let mut command = home.server_user.command(&program);
        command.arg("--pgdata").arg(target).args(locale);
        command.args(["--encoding=UTF8", "--data-checksums", "--auth=peer", "--no-instructions"]);
        command.arg(format!("--username={SUPERUSER}"));
        if !durable {
            // One segment of the log is written out during initdb, so that a small one is quick.
            command.args(["--no-sync", "--wal-segsize=1"]);
        }
        let user = &home.server_user.name;
        let run = command.output().map_err(|source| Error::Run {
            program: program.clone(),
            user: user.clone(),
            source,
        })?;
        if run.status.success() {
            return Ok(());
        }
        output = String::from_utf8_lossy(&run.stderr).into_owned();
        // Only a locale that this system lacks is worth another try; initdb has cleaned up.
        if !output.contains("locale") {
            break;
        }
    }
    Err(Error::Initdb { cluster: home.cluster.clone(), output })
}

/// UTF-8 in the order of code points, best first: built into PostgreSQL 17 and newer, from the
/// system where it has it, and else with ASCII-only upper and lower case.
fn locales(major: u32) -> Vec<Vec<OsString>> {
    let builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"];
    let mut locales = vec![vec!["--locale=C.UTF-8".into()], vec!["--locale=C".into()]];
    if major >= 17 {
        locales.insert(0, builtin.map(OsString::from).to_vec());
    }
    locales
}
