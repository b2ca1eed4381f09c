//! A running `freehold up` in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A folder that the user who runs PostgreSQL can enter, so that everything stays in it.
pub(crate) fn folder() -> tempfile::TempDir {
    let open = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(open).tempdir().unwrap()
}

/// The process; killed when dropped.
pub(crate) struct Freehold {
    child: Child,
    /// Where it says it serves.
    pub(crate) url: String,
    /// Everything it printed before that.
    pub(crate) said: String,
}

/// How to start one.
pub(crate) struct Start<'a> {
    /// The data folder.
    pub(crate) folder: &'a Path,
    /// Where it listens; port 0 takes a free one.
    pub(crate) listen: &'a str,
    /// Further arguments of `up`.
    pub(crate) arguments: &'a [&'a str],
    /// Further variables.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Run as this user and group.
    pub(crate) uid: Option<u32>,
    /// The program.
    pub(crate) program: PathBuf,
}

impl<'a> Start<'a> {
    /// The program under test in this data folder.
    pub(crate) fn in_folder(folder: &'a Path) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_freehold"));
        let listen = "127.0.0.1:0";
        Self { folder, listen, arguments: &[], environment: &[], uid: None, program }
    }

    /// The command, deaf to the settings of whoever runs the tests.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["up", "--listen", self.listen, "--data-dir"]).arg(self.folder);
        command.args(self.arguments).current_dir(self.folder.parent().unwrap_or(self.folder));
        for variable in ["DATABASE_URL", "DATABASE_OWNER_URL", "PORT", "FREEHOLD_LISTEN"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().copied());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits for the line that says it is ready.
    pub(crate) fn run(&self) -> Freehold {
        let mut child = self.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let Some(line) = lines.next() else {
                let mut complaint = String::new();
                child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
                panic!("freehold did not start: {said}{complaint}");
            };
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix("Freehold is ready at ") {
                break rest.split(' ').next().unwrap().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        Freehold { child, url, said }
    }
}

impl Freehold {
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it as a service manager would, and says how it ended.
    pub(crate) fn stop(mut self) -> std::process::ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Ends it as an accident would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Freehold {
    fn drop(&mut self) {
        let Ok(None) = self.child.try_wait() else { return };
        self.signal(Signal::TERM);
        let _ = self.child.wait();
    }
}
