//! The server's main process: reading `postmaster.pid`, telling whose it is, signals and its end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};

use crate::error::Error;
use crate::home::Home;

/// How often we look whether something has happened.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// How long a fast shutdown may take: every session is ended, then a checkpoint is written.
const FAST: Duration = Duration::from_secs(20);

/// How long an immediate shutdown may take; PostgreSQL kills its own processes after five seconds.
const IMMEDIATE: Duration = Duration::from_secs(10);

/// What `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: Pid,
    pub(crate) socket_dir: PathBuf,
    /// `starting`, `ready`, `stopping` …
    pub(crate) status: String,
}

impl PidFile {
    pub(crate) fn read(cluster: &Path) -> Option<PidFile> {
        PidFile::parse(&fs::read_to_string(cluster.join("postmaster.pid")).ok()?)
    }

    /// Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
    /// A server that is just starting has written the first of them only.
    fn parse(text: &str) -> Option<PidFile> {
        let line = |index: usize| text.lines().nth(index).unwrap_or_default().trim_end();
        Some(PidFile {
            pid: line(0).trim().parse().ok().and_then(Pid::from_raw)?,
            socket_dir: PathBuf::from(line(4)),
            status: line(7).to_string(),
        })
    }
}

/// Who `postmaster.pid` names.
#[derive(Debug)]
pub(crate) enum Occupant {
    /// Nobody, or a process that has ended.
    Nobody,
    /// A live server of this cluster: it has outlived a Freehold.
    Server(PidFile),
    /// A live process of another kind, which has got the number since.
    Stranger(Pid),
}

impl Occupant {
    /// Looks into a cluster.
    pub(crate) fn of(home: &Home) -> Occupant {
        match PidFile::read(&home.cluster) {
            Some(file) if has_ended(file.pid) => Occupant::Nobody,
            Some(file) if serves(file.pid, home) => Occupant::Server(file),
            Some(file) => Occupant::Stranger(file.pid),
            None => Occupant::Nobody,
        }
    }
}

/// Whether a live process is the server of this cluster. The pid file alone does not prove it:
/// after a reboot its number is somebody else's, and whoever runs the server could write any
/// number there for us to send a signal to, as root.
fn serves(pid: Pid, home: &Home) -> bool {
    let Some((uid, arguments)) = describe(pid) else {
        return false;
    };
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    if uid != home.server_user.uid || program.is_none_or(|program| program != "postgres") {
        return false;
    }
    // A server works in its data folder. Where that is not shown to us (root in a container), it
    // was given on its command line: by us, always in full.
    match fs::read_link(proc_dir(pid).join("cwd")) {
        Ok(dir) => dir == home.cluster,
        Err(_) => arguments.iter().any(|argument| Path::new(argument) == home.cluster),
    }
}

/// The owner and the command line of a process.
fn describe(pid: Pid) -> Option<(u32, Vec<String>)> {
    if Path::new("/proc/self").exists() {
        let uid = fs::metadata(proc_dir(pid)).ok()?.uid();
        let line = fs::read(proc_dir(pid).join("cmdline")).ok()?;
        let arguments = line.split(|byte| *byte == 0);
        return Some((uid, arguments.map(|a| String::from_utf8_lossy(a).into_owned()).collect()));
    }
    // Elsewhere `ps` knows, and separates the arguments by nothing but spaces: ours come as
    // `postgres -D CLUSTER -c …`.
    let mut ps = Command::new("ps");
    let output = ps.args(["-o", "uid=,command=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let (uid, command) = line.trim().split_once(' ')?;
    let (program, rest) = command.trim().split_once(" -D ")?;
    let cluster = rest.split_once(" -c ").map_or(rest, |(cluster, _)| cluster);
    Some((uid.parse().ok()?, vec![program.to_string(), cluster.to_string()]))
}

fn proc_dir(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Whether a process is gone. One that has ended counts, even if nobody has waited for it: our own
/// children we wait for here, and in a container there may be no init to do it for the others.
fn has_ended(pid: Pid) -> bool {
    if let Ok(Some(_)) = waitpid(Some(pid), WaitOptions::NOHANG) {
        return true;
    }
    // The state follows the program's name, which is in parentheses and may hold any character.
    let state = fs::read_to_string(proc_dir(pid).join("stat")).unwrap_or_default();
    let is_zombie = state.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"));
    is_zombie || test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

/// A running server: a child of ours, or one that we have found.
#[derive(Debug)]
pub(crate) enum Process {
    Child(Child),
    Found(Pid),
}

impl Process {
    pub(crate) fn pid(&self) -> Pid {
        match self {
            Process::Child(child) => Pid::from_child(child),
            Process::Found(pid) => *pid,
        }
    }

    /// How the process ended, if it has.
    pub(crate) fn end(&mut self) -> Option<String> {
        match self {
            Process::Child(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(format!("ended at once ({status})")),
                // Somebody else has waited for all children of this process.
                Err(_) => Some("ended at once".to_string()),
            },
            Process::Found(pid) => has_ended(*pid).then(|| "ended".to_string()),
        }
    }

    /// Ends the server: politely, then firmly, and waits for it.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        for (signal, patience) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE)] {
            if self.end().is_some() {
                return Ok(());
            }
            if signal == Signal::QUIT {
                tracing::warn!("PostgreSQL does not stop; shutting it down immediately");
            }
            self.signal(signal);
            if self.wait(patience) {
                return Ok(());
            }
        }
        Err(Error::WillNotStop { pid: self.pid().as_raw_pid() })
    }

    /// Waits for the end; says whether it has come.
    fn wait(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.end().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// Makes the server read its configuration again.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        // That it has just ended is the only way to fail, and what we see next anyhow.
        let _ = kill_process(self.pid(), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::PidFile;

    #[test]
    fn a_pid_file_is_read_at_every_stage() {
        let whole = "4242\n/srv/x/cluster\n1700000000\n5432\n/srv/x/run\n\n  5432001 7\nready   \n";
        let file = PidFile::parse(whole).unwrap_or_else(|| unreachable!());
        assert_eq!(file.pid.as_raw_pid(), 4242);
        assert_eq!(file.socket_dir.to_str(), Some("/srv/x/run"));
        assert_eq!(file.status, "ready");
        assert_eq!(PidFile::parse("4242\n/srv").map(|file| file.status), Some(String::new()));
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("0\n"), None);
    }
}
