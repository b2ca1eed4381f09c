//! Operating-system users: who we are, who runs the server, and running programs as them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Error;

/// Who may run PostgreSQL in the place of root, best first.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// A user of the operating system, by its name and ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user this process acts as.
    pub(crate) fn current() -> Result<User, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        // Group and name come from different places: a container may set any pair of ids.
        Ok(User { gid, ..User::by_id(uid)? })
    }

    /// Whether this is root, as whom PostgreSQL does not run.
    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The user that is to run the server of the cluster, which need not exist yet.
    pub(crate) fn of_server(current: &User, cluster: &Path) -> Result<User, Error> {
        if !current.is_root() {
            return Ok(current.clone());
        }
        // PostgreSQL insists that its data belongs to the user that runs it, so an existing
        // cluster decides: it may have been made before `postgres` was added to the system, or by
        // an ordinary user who now says sudo.
        match fs::metadata(cluster) {
            Ok(found) if found.uid() != 0 => User::by_id(found.uid()),
            _ => (SERVER_USERS.iter().find_map(|name| User::find(|user| user.name == *name)))
                .ok_or_else(|| Error::NoUser { who: SERVER_USERS.join(" or ") }),
        }
    }

    fn by_id(uid: u32) -> Result<User, Error> {
        (User::find(|user| user.uid == uid).or_else(|| User::from_directory(uid)))
            .ok_or_else(|| Error::NoUser { who: format!("with the id {uid}") })
    }

    /// Looks a user up in /etc/passwd.
    fn find(matches: impl Fn(&User) -> bool) -> Option<User> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        passwd.lines().filter_map(User::from_passwd).find(matches)
    }

    fn from_passwd(line: &str) -> Option<User> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_string();
        let mut ids = fields.skip(1).map(str::parse);
        Some(User { name, uid: ids.next()?.ok()?, gid: ids.next()?.ok()? })
    }

    /// Users of LDAP and the like (and all of macOS) are not in /etc/passwd; `id` knows them.
    fn from_directory(uid: u32) -> Option<User> {
        let ask = |what: &str| {
            let output = Command::new("id").args([what, &uid.to_string()]).output().ok()?;
            let answer = String::from_utf8(output.stdout).ok()?.trim().to_string();
            (output.status.success() && !answer.is_empty()).then_some(answer)
        };
        Some(User { name: ask("-un")?, uid, gid: ask("-g")?.parse().ok()? })
    }

    /// A command that runs as this user, without the caller's environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // PGDATA, PGPORT, LC_MESSAGES … of the caller would change what the programs do. LC_ALL
        // keeps messages in the English we look for, and macOS needs it set to something.
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        for keep in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(keep) {
                command.env(keep, value);
            }
        }
        // The caller's working folder may be one this user cannot enter.
        command.current_dir("/").stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            // With a uid, std drops root's supplementary groups as well.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether this user can enter a folder. Tried out and not worked out from modes, because
    /// access lists and security modules have a say, too.
    pub(crate) fn can_enter(&self, dir: &Path, program: &Path) -> bool {
        let mut probe = self.command(program);
        probe.arg(OsStr::new("--version")).stdout(Stdio::null()).stderr(Stdio::null());
        probe.current_dir(dir).status().is_ok_and(|status| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn a_line_of_passwd_is_a_user() {
        let user =
            User::from_passwd("postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/sh");
        assert_eq!(user, Some(User { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(User::from_passwd("+::::::"), None);
    }
}
