//! Everything that can go wrong, said so that a person knows what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Why PostgreSQL could not be found, initialised, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Another process holds the folder.
    #[error(
        "{} is in use by another Freehold (process {pid}). Stop that one first, or give this one \
         a folder of its own.",
        dir.display()
    )]
    InUse {
        /// The folder both want.
        dir: PathBuf,
        /// The holder's process id, or `unknown`.
        pid: String,
    },

    /// No PostgreSQL new enough is installed.
    #[error(
        "PostgreSQL {oldest} or newer is needed, and {found}. Install it with\n    {install}\nor \
         name the folder of its programs in FREEHOLD_POSTGRES_BIN."
    )]
    NoBinaries {
        /// The oldest major version that will do.
        oldest: u32,
        /// What was found instead.
        found: String,
        /// The line to type.
        install: String,
    },

    /// The folder that was named explicitly holds no usable PostgreSQL.
    #[error(
        "{} was named as the folder of PostgreSQL's programs, but it has no working `postgres` \
         and `initdb` of version {oldest} or newer. On Debian the folder is like \
         /usr/lib/postgresql/17/bin; leave it out to have Freehold look for one.",
        dir.display()
    )]
    BadBinaries {
        /// The folder that was named.
        dir: PathBuf,
        /// The oldest major version that will do.
        oldest: u32,
    },

    /// The cluster was made by a major version that is not installed.
    #[error(
        "the database in {} was made by PostgreSQL {cluster_major}, and only {installed} is \
         installed here. Install version {cluster_major} next to it:\n    {install}\nor, to move \
         the data to the newer version, install both and follow\n    \
         https://www.postgresql.org/docs/current/pgupgrade.html",
        cluster.display()
    )]
    OtherMajor {
        /// The cluster's folder.
        cluster: PathBuf,
        /// The version that made it.
        cluster_major: u32,
        /// The versions that are installed.
        installed: String,
        /// The line to type.
        install: String,
    },

    /// A file says something we cannot understand.
    #[error("{} cannot be understood: {reason}. Restore it from a backup.", path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The folder remembers a cluster that is no longer there.
    #[error(
        "the database of {} should be in {}, and it is not there. Restore it from a backup; or, \
         to begin with an empty database, delete {}/instance.json.",
        dir.display(), cluster.display(), dir.display()
    )]
    ClusterMissing {
        /// The folder.
        dir: PathBuf,
        /// Where its cluster should be.
        cluster: PathBuf,
    },

    /// The folder is a copy of another one, whose cluster lives outside of it.
    #[error(
        "the database in {} belongs to {}, of which {} is a copy. Copying the folder does not \
         copy the database: take a backup of the first and restore it into a new folder.",
        home.display(), owner.display(), dir.display()
    )]
    NotOurs {
        /// Where the cluster lives.
        home: PathBuf,
        /// The folder it belongs to.
        owner: PathBuf,
        /// The folder that was asked for.
        dir: PathBuf,
    },

    /// A user id without a name: PostgreSQL insists on one.
    #[error(
        "the user {who} is not known on this system, and PostgreSQL does not run without one. Add \
         it to /etc/passwd, or run Freehold as another user."
    )]
    NoUser {
        /// The user's id or name.
        who: String,
    },

    /// A folder for the socket exists and is not safe to use.
    #[error("{} cannot hold the socket: {reason}. Remove it and start again.", path.display())]
    SocketFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A setting or role that cannot be written to PostgreSQL's configuration.
    #[error("{what} {name:?} cannot be written to PostgreSQL's configuration: {reason}")]
    Configuration {
        /// `the setting` or `the role`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        reason: &'static str,
    },

    /// A program of PostgreSQL could not be run at all.
    #[error(
        "cannot run {} as the user {user}: {source}. That user must be able to read and execute it.",
        program.display()
    )]
    Run {
        /// The program.
        program: PathBuf,
        /// Who was to run it.
        user: String,
        /// What the system said.
        source: io::Error,
    },

    /// `initdb` failed.
    #[error("initdb could not make a new database in {}:\n{output}", cluster.display())]
    Initdb {
        /// Where the cluster was to be.
        cluster: PathBuf,
        /// What it said.
        output: String,
    },

    /// PostgreSQL ended before it was ready, or was not ready in time.
    #[error("PostgreSQL {what}. The end of {}:\n{tail}", log.display())]
    NotReady {
        /// What happened.
        what: String,
        /// The log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// PostgreSQL is still there after every polite request.
    #[error(
        "PostgreSQL (process {pid}) does not stop. See what keeps it with `ps -fp {pid}`; \
         `kill -9 {pid}` ends it, and the next start recovers the database."
    )]
    WillNotStop {
        /// Its process id.
        pid: i32,
    },
}

impl Error {
    /// For `map_err` on file operations: remembers what was tried, and on what.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::File { action, path: path.to_path_buf(), source }
    }
}
