//! A running `freehold up` in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use freehold_embedded_postgres::{Options, Server};
use freehold_testkit::Pooler;
use rustix::process::{Pid, Signal, kill_process};

use crate::nodes::pooled;

/// A folder that the user who runs PostgreSQL can enter, so that everything stays in it.
pub(crate) fn folder() -> tempfile::TempDir {
    let open = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(open).tempdir().unwrap()
}

/// How a command that ends by itself ended.
pub(crate) struct Ran {
    /// Its code; 0 is well.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) said: String,
    /// What it complained of.
    pub(crate) complaint: String,
}

/// The program under test, given a command in this folder, deaf to whoever runs the tests.
pub(crate) fn command(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).current_dir(folder);
    for setting in freehold::settings::SETTINGS {
        command.env_remove(setting.variable);
    }
    command.envs(environment.iter().copied());
    command
}

/// Gives a command and waits for its end, which must come by itself. It holds its thread meanwhile: a
/// test that has an application of its own lets that run on others, or the command may wait in vain
/// for a transaction of the application's.
pub(crate) fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = command(folder, arguments, environment);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(Duration::from_secs(60)) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("{arguments:?} goes on");
    };
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap(),
        said: text(&output.stdout),
        complaint: text(&output.stderr),
    }
}

/// The process; killed when dropped.
pub(crate) struct Freehold {
    child: Child,
    /// Where it says it serves.
    pub(crate) url: String,
    /// Everything it printed before that.
    pub(crate) said: String,
    /// What it runs on, where tests go through a pooler.
    _database: Option<Pooled>,
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
        let database = Pooler::is_wanted().then(|| Pooled::start(self.folder));
        let mut command = self.command();
        if let Some(database) = &database {
            command.envs(database.environment.clone());
        }
        let mut child = command.spawn().unwrap();
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
        Freehold { child, url, said, _database: database }
    }
}

/// A PostgreSQL behind a pooler in transaction mode, in the place of the private one.
struct Pooled {
    environment: Vec<(&'static str, String)>,
    _pooler: Option<Pooler>,
    _postgres: Server,
}

impl Pooled {
    fn start(folder: &Path) -> Self {
        let options = Options { durable: false, ..Options::new(folder.with_extension("pooled")) };
        let postgres = Server::start(&options).unwrap();
        let (pooler, mut environment) = pooled(&postgres);
        environment.push(("DATABASE_OWNER_URL", postgres.url("postgres", "postgres")));
        Self { environment, _pooler: pooler, _postgres: postgres }
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
