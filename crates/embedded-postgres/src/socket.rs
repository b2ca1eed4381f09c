//! The folder of the Unix socket: short enough a path, and closed to everybody else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;
use crate::home::Home;

/// The port of every server; it only names the socket, and keeps clients' defaults working.
pub(crate) const PORT: u16 = 5432;

/// The longest path of a Unix socket.
const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The socket inside its folder.
pub(crate) fn in_dir(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// Chooses the folder for the socket and makes it.
pub(crate) fn prepare(home: &Home, is_elsewhere: bool) -> Result<PathBuf, Error> {
    let here = home.path.join("run");
    let dir = if !is_elsewhere && fits(&here) { here } else { outside(home) };
    files::make_dir(&dir, 0o700)?;
    // /tmp is everybody's: what is there already must be a real folder, and nobody else's.
    let refuse = |reason| Error::SocketFolder { path: dir.clone(), reason };
    let found = fs::symlink_metadata(&dir).map_err(Error::file("look at", &dir))?;
    if !found.is_dir() {
        return Err(refuse("it is not a folder"));
    }
    let user = &home.server_user;
    if found.uid() != user.uid && found.uid() != home.current.uid {
        return Err(refuse("it belongs to another user"));
    }
    if home.current.is_root() {
        files::chown(&dir, Some(user.uid), Some(user.gid))?;
    }
    files::set_mode(&dir, 0o700)?;
    Ok(dir)
}

/// Removes the folder and whatever a killed server left in it.
pub(crate) fn remove(dir: &Path) {
    let socket = in_dir(dir);
    let mut lock = socket.clone().into_os_string();
    lock.push(".lock");
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(lock);
    let _ = fs::remove_dir(dir);
}

/// Whether a socket can be in a folder: the path must be short, and PostgreSQL's clients take a
/// comma for the end of one host and the beginning of another.
fn fits(dir: &Path) -> bool {
    let path = in_dir(dir).into_os_string();
    path.len() <= LONGEST && !path.as_bytes().contains(&b',')
}

fn outside(home: &Home) -> PathBuf {
    let name = format!("freehold-{}", home.id);
    let runtime = if home.current.is_root() {
        Some(PathBuf::from("/run")).filter(|run| run.is_dir())
    } else {
        // After `su`, the variable may still name the folder of somebody else.
        let is_ours =
            |dir: &PathBuf| fs::metadata(dir).is_ok_and(|found| found.uid() == home.current.uid);
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_ours)
    };
    (runtime.map(|dir| dir.join(&name)).filter(|dir| fits(dir)))
        .unwrap_or_else(|| Path::new("/tmp").join(name))
}

/// The URL that connects through a socket, in the form that sqlx, libpq and psql understand.
pub(crate) fn url(dir: &Path, user: &str, database: &str) -> String {
    let (user, database) = (encode(OsStr::new(user)), encode(OsStr::new(database)));
    let host = encode(dir.as_os_str());
    // TLS is not offered on a socket; saying so saves each connection the question.
    format!("postgres://{user}@localhost:{PORT}/{database}?host={host}&sslmode=disable")
}

fn encode(text: &OsStr) -> String {
    let encode_byte = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(*byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.as_bytes().iter().map(encode_byte).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn a_url_has_everything_odd_encoded() {
        assert_eq!(
            super::url(Path::new("/srv/it's 100%/run"), "a@b", "c/d"),
            "postgres://a%40b@localhost:5432/c%2Fd?host=%2Fsrv%2Fit%27s%20100%25%2Frun\
             &sslmode=disable"
        );
    }
}
