//! What the tests share: folders that clean up after themselves, psql, and other processes.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use freehold_embedded_postgres::{Options, Server};

/// Names the folder in a process that [`Holder`] started.
const HOLD: &str = "FREEHOLD_TEST_HOLD";

/// A folder below /tmp with a `data` folder to be inside it; removed in the end, with whatever it
/// has left in the system folder.
pub(crate) struct Place {
    root: tempfile::TempDir,
}

impl Place {
    /// A place that everybody may enter.
    pub(crate) fn new() -> Place {
        Place::with_mode(0o755)
    }

    pub(crate) fn with_mode(mode: u32) -> Place {
        let permissions = Permissions::from_mode(mode);
        let prefix = "freehold-test-";
        let root = tempfile::Builder::new().prefix(prefix).permissions(permissions).tempdir();
        Place { root: root.unwrap() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    pub(crate) fn options(&self) -> Options {
        Options { durable: false, ..Options::new(self.data()) }
    }

    pub(crate) fn start(&self) -> Server {
        Server::start(&self.options()).unwrap()
    }

    pub(crate) fn error(&self) -> String {
        Server::start(&self.options()).unwrap_err().to_string()
    }

    /// The cluster's folder, as `instance.json` has it.
    pub(crate) fn cluster(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.data().join("instance.json")).ok()?;
        let instance: serde_json::Value = serde_json::from_str(&text).unwrap();
        Some(self.data().join(instance["cluster"].as_str().unwrap()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster()
            && cluster.starts_with("/var/lib/freehold")
        {
            let _ = fs::remove_dir_all(cluster.parent().unwrap());
            // Only when nothing else is in it.
            let _ = fs::remove_dir("/var/lib/freehold");
        }
    }
}

pub(crate) fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a statement through psql, as whoever runs the tests; the answer without its line end.
pub(crate) fn psql(server: &Server, role: &str, statement: &str) -> Result<String, String> {
    let mut psql = Command::new(server.binaries().program("psql"));
    psql.env_clear().args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]);
    let output = psql.arg(server.url(role, "postgres")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

pub(crate) fn postmaster_pid(cluster: &Path) -> i32 {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

/// Polls until something is true, and fails after a time that means it never will be.
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_true() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Another process that runs one test of this test program, and is killed in the end.
pub(crate) struct Holder(Child);

impl Holder {
    /// Starts the test `name` in a process of its own, told about `dir`.
    pub(crate) fn start(program: &Path, name: &str, dir: &Path, uid: Option<u32>) -> Holder {
        let mut command = Command::new(program);
        command.args(["--exact", name, "--nocapture"]).env(HOLD, dir).current_dir("/");
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        Holder(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its own end; says whether its test passed.
    pub(crate) fn passes(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder to hold, in a process that [`Holder`] started.
pub(crate) fn told_to_hold() -> Option<PathBuf> {
    std::env::var_os(HOLD).as_deref().map(OsStr::to_os_string).map(PathBuf::from)
}
