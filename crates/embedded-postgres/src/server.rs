//! A running PostgreSQL: started or found again, until it is stopped or detached.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::binaries::{self, Binaries};
use crate::error::Error;
use crate::folder::Folder;
use crate::home::Home;
use crate::log::Log;
use crate::postmaster::{Occupant, POLL, PidFile, Process};
use crate::{Options, cluster, config, socket};

/// How long a start may take; recovery after a power cut is part of it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A PostgreSQL that runs. Dropping it stops the server, and so does [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Whether the process is to be left alone when this value goes.
    is_released: bool,
    was_running: bool,
    socket_dir: PathBuf,
    home: Home,
    binaries: Binaries,
    notices: Vec<String>,
    /// Last, so that the folder is unlocked after everything else.
    folder: Folder,
}

impl Server {
    /// Starts the server of a folder, or finds the one that has outlived an earlier Freehold. A
    /// folder without a database gets an empty one first.
    pub fn start(options: &Options) -> Result<Server, Error> {
        let begin = Instant::now();
        let folder = Folder::open(&options.data_dir)?;
        let log = Log::of(&folder.path)?;
        let (home, binaries) = settle(&folder, options)?;
        let mut notices = Vec::new();
        if home.is_elsewhere(&folder) {
            notices.push(elsewhere_notice(&home, &folder));
        }
        let found = find_running(&home, options, &log)?;
        let was_running = found.is_some();
        let (process, socket_dir) = match found {
            Some(found) => found,
            None => launch(&home, &folder, &binaries, options, &log)?,
        };
        if was_running {
            notices.push(format!(
                "PostgreSQL (process {}) was still running from an earlier Freehold on {}; it is \
                 used again.",
                process.pid().as_raw_pid(),
                folder.path.display()
            ));
        }
        tracing::info!(
            dir = %folder.path.display(),
            version = binaries.version(),
            was_running,
            milliseconds = begin.elapsed().as_millis(),
            "PostgreSQL is ready"
        );
        let is_released = false;
        Ok(Server {
            process,
            is_released,
            was_running,
            socket_dir,
            home,
            binaries,
            notices,
            folder,
        })
    }

    /// The URL to connect to a database as a role, for sqlx, libpq and psql.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        socket::url(&self.socket_dir, user, database)
    }

    /// The folder of the Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The folder from the options, without links or dots in it.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.folder.path
    }

    /// PostgreSQL's own data folder, which may lie outside of [`Server::data_dir`].
    #[must_use]
    pub fn cluster_dir(&self) -> &Path {
        &self.home.cluster
    }

    /// The programs of the server's version: `psql`, `pg_dump` …
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// What a person should be told, such as that the data lives in another folder.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Whether the server was running already, having outlived an earlier Freehold.
    #[must_use]
    pub fn was_running(&self) -> bool {
        self.was_running
    }

    /// Stops the server and waits for its end: SIGINT (sessions are ended, data is written), and
    /// SIGQUIT when that takes longer than 20 seconds.
    pub fn stop(mut self) -> Result<(), Error> {
        self.halt()
    }

    /// Leaves the server running. The next [`Server::start`] on the folder finds it.
    pub fn detach(mut self) {
        self.is_released = true;
    }

    fn halt(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_released, true) {
            return Ok(());
        }
        self.process.stop()?;
        socket::remove(&self.socket_dir);
        tracing::info!(dir = %self.folder.path.display(), "PostgreSQL is stopped");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.halt() {
            tracing::error!(%error, "PostgreSQL could not be stopped");
        }
    }
}

/// Finds the home of a folder and the programs that fit its cluster; makes what is not there.
fn settle(folder: &Folder, options: &Options) -> Result<(Home, Binaries), Error> {
    let hint = options.binaries.as_deref();
    if let Some(home) = Home::known(folder)? {
        let major = cluster::major(&home.cluster)?;
        let binaries = binaries::find_matching(hint, &home.cluster, major)?;
        return Ok((home, binaries));
    }
    let mut binaries = binaries::find_binaries(hint)?;
    let home = Home::found(folder, &binaries)?;
    if home.is_new {
        cluster::create(&home, &binaries, options.durable)?;
    } else {
        let major = cluster::major(&home.cluster)?;
        binaries = binaries::find_matching(hint, &home.cluster, major)?;
    }
    home.record(folder)?;
    Ok((home, binaries))
}

/// Finds a server that has outlived its Freehold, and makes sure that it can be used.
fn find_running(
    home: &Home,
    options: &Options,
    log: &Log,
) -> Result<Option<(Process, PathBuf)>, Error> {
    let Occupant::Server(pid_file) = Occupant::of(home) else {
        return Ok(None);
    };
    let mut process = Process::Found(pid_file.pid);
    let ready = match pid_file.status.as_str() {
        // Its Freehold was killed while it stopped the server, which still goes on with it.
        "stopping" => false,
        "ready" => connects(&pid_file.socket_dir),
        _ => wait_until_ready(&mut process, home, log).is_ok(),
    };
    if !ready {
        // Also when somebody has removed the socket: nobody can talk to it any more.
        tracing::warn!("a PostgreSQL of an earlier Freehold cannot be used again; stopping it");
        process.stop()?;
        return Ok(None);
    }
    let socket_dir = PidFile::read(&home.cluster).map_or(pid_file.socket_dir, |now| now.socket_dir);
    if config::write(home, options, &socket_dir)? {
        process.reload();
    }
    Ok(Some((process, socket_dir)))
}

/// Starts a server as our child and waits until it is ready.
fn launch(
    home: &Home,
    folder: &Folder,
    binaries: &Binaries,
    options: &Options,
    log: &Log,
) -> Result<(Process, PathBuf), Error> {
    let socket_dir = socket::prepare(home, home.is_elsewhere(folder))?;
    config::write(home, options, &socket_dir)?;
    let program = binaries.program("postgres");
    let mut config_file = std::ffi::OsString::from("config_file=");
    config_file.push(config::file(home));
    let mut command = home.server_user.command(&program);
    command.arg("-D").arg(&home.cluster).arg("-c").arg(config_file);
    let output = log.open()?;
    let errors = output.try_clone().map_err(Error::file("open", &folder.path))?;
    // A group of its own: Ctrl-C on the terminal is for us, and we stop the server in order.
    command.stdout(output).stderr(errors).process_group(0);
    if let Occupant::Stranger(pid) = Occupant::of(home) {
        // PostgreSQL refuses to start while the process in its pid file is alive, unless that is
        // a relative of its own. To say so, as pg_ctl does, is safer than removing the file,
        // which also names shared memory that may still be in use.
        command.env("PG_GRANDPARENT_PID", pid.to_string());
    }
    let child = command.spawn().map_err(|source| Error::Run {
        program,
        user: home.server_user.name.clone(),
        source,
    })?;
    let mut process = Process::Child(child);
    match wait_until_ready(&mut process, home, log) {
        Ok(()) => Ok((process, socket_dir)),
        Err(error) => {
            let _ = process.stop();
            socket::remove(&socket_dir);
            Err(error)
        }
    }
}

/// Waits until the server says that it is ready, and answers on its socket.
fn wait_until_ready(process: &mut Process, home: &Home, log: &Log) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(file) = PidFile::read(&home.cluster)
            && file.pid == process.pid()
            && file.status == "ready"
            && connects(&file.socket_dir)
        {
            return Ok(());
        }
        if let Some(how) = process.end() {
            return Err(log.not_ready(how));
        }
        if Instant::now() > deadline {
            return Err(log.not_ready(format!("is not ready after {} s", PATIENCE.as_secs())));
        }
        thread::sleep(POLL);
    }
}

fn connects(socket_dir: &Path) -> bool {
    UnixStream::connect(socket::in_dir(socket_dir)).is_ok()
}

fn elsewhere_notice(home: &Home, folder: &Folder) -> String {
    format!(
        "The database of {} lives in {}: the user {}, who runs PostgreSQL in the place of root, \
         cannot enter {}.",
        folder.path.display(),
        home.path.display(),
        home.server_user.name,
        folder.path.display()
    )
}
