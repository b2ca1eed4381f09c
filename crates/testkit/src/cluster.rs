//! One PostgreSQL per checkout, in `target/testdb`: started by the first test process that needs
//! it, adopted by the others, stopped by a reaper a minute after the last of them has ended.
//!
//! | file | what it is |
//! | --- | --- |
//! | `server/` | the data folder of `freehold_embedded_postgres` |
//! | `start.lock` | held while somebody starts, adopts or stops the server |
//! | `holders.lock` | held, shared, by every test process as long as it lives |
//! | `reaper.lock` | held by the reaper as long as it lives |
//! | `state.json` | where the server is, once it is ready |

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use freehold_embedded_postgres::{Options, SUPERUSER, Server};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::database;

const REAPER: &str = include_str!("reaper.sh");
/// Seconds without a test process after which the reaper stops the server.
const GRACE_SECONDS: &str = "60";
/// Stand in the URL that is kept for what differs between connections.
const ANY_USER: &str = "ANY-USER";
const ANY_DATABASE: &str = "ANY-DATABASE";

/// The running cluster, as this process knows it.
pub(crate) struct Cluster {
    state: State,
    /// Tells the reaper that we live. The system lets go of it when the process ends, however.
    _holder: File,
}

/// What `state.json` holds.
#[derive(Serialize, Deserialize)]
struct State {
    url: String,
    socket: PathBuf,
    pid_file: PathBuf,
    pid: u32,
}

impl Cluster {
    /// The cluster of this checkout; one look for all tests of a process.
    pub(crate) async fn get() -> &'static Self {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        CLUSTER
            .get_or_init(|| async {
                Self::open(&home()).await.expect("PostgreSQL for the tests could not be started")
            })
            .await
    }

    /// Where a role connects to a database.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        self.state.url.replace(ANY_USER, user).replace(ANY_DATABASE, database)
    }

    /// The folder of its socket.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.state.socket.parent().unwrap_or(&self.state.socket)
    }

    /// Where the superuser connects, for templates and for assertions.
    pub(crate) fn superuser_url(&self, database: &str) -> String {
        self.url(SUPERUSER, database)
    }

    async fn open(home: &Path) -> io::Result<Self> {
        fs::create_dir_all(home)?;
        let dir = home.to_owned();
        // Waits for the reaper when it is just stopping the server, and for others that start it.
        let (holder, start) = blocking(move || {
            let holder = open(&dir.join("holders.lock"))?;
            holder.lock_shared()?;
            let start = open(&dir.join("start.lock"))?;
            start.lock()?;
            Ok((holder, start))
        })
        .await?;
        let known = State::read(home).filter(State::answers);
        let is_new = known.is_none();
        let state = match known {
            Some(state) => state,
            None => start_server(home.to_owned()).await?,
        };
        let cluster = Self { state, _holder: holder };
        if is_new {
            database::sweep(&cluster).await.map_err(io::Error::other)?;
            cluster.state.write(home)?;
        }
        watch(home, &cluster.state)?;
        drop(start);
        Ok(cluster)
    }
}

impl State {
    fn read(home: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(home.join("state.json")).ok()?).ok()
    }

    fn write(&self, home: &Path) -> io::Result<()> {
        fs::write(home.join("state.json"), serde_json::to_vec_pretty(self)?)
    }

    /// Whether the server that was started then is the one that is there now, and ready.
    fn answers(&self) -> bool {
        let file = fs::read_to_string(&self.pid_file).unwrap_or_default();
        let line = |number: usize| file.lines().nth(number).unwrap_or_default().trim().to_owned();
        line(0) == self.pid.to_string()
            && line(7) == "ready"
            && UnixStream::connect(&self.socket).is_ok()
    }
}

async fn start_server(home: PathBuf) -> io::Result<State> {
    blocking(move || {
        let options = Options {
            settings: vec![("max_connections".to_owned(), "200".to_owned())],
            durable: false,
            ..Options::new(home.join("server"))
        };
        let patience = Instant::now() + Duration::from_secs(5);
        let server = loop {
            match Server::start(&options) {
                Ok(server) => break server,
                // A server that was just killed is in the way until the system has buried it.
                Err(_) if Instant::now() < patience => thread::sleep(Duration::from_millis(200)),
                Err(error) => return Err(io::Error::other(error)),
            }
        };
        let pid_file = server.cluster_dir().join("postmaster.pid");
        let first_line = fs::read_to_string(&pid_file)?;
        let pid = first_line.lines().next().unwrap_or_default().trim().parse();
        let state = State {
            url: server.url(ANY_USER, ANY_DATABASE),
            socket: server.socket_dir().join(".s.PGSQL.5432"),
            pid_file,
            pid: pid.map_err(io::Error::other)?,
        };
        // Not ours alone: it goes on for those who come after us.
        server.detach();
        Ok(state)
    })
    .await
}

/// Makes sure that somebody stops the server when nobody needs it any more.
fn watch(home: &Path, state: &State) -> io::Result<()> {
    let lock = open(&home.join("reaper.lock"))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    drop(lock);
    if Command::new("flock").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!(
            "There is no `flock` (util-linux) here, so nobody will stop the PostgreSQL of the \
             tests. When you want to: kill -INT {}",
            state.pid
        );
        return Ok(());
    }
    Command::new("sh")
        .args(["-c", REAPER, "freehold-test-reaper"])
        .arg(home)
        .arg(&state.pid_file)
        .arg(GRACE_SECONDS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own: Ctrl-C on the terminal is for the tests.
        .process_group(0)
        .spawn()?;
    Ok(())
}

/// `target/testdb` of this checkout.
fn home() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|dir| dir.join("Cargo.lock").is_file()).unwrap_or(here);
    root.join("target").join("testdb")
}

fn open(path: &Path) -> io::Result<File> {
    match File::options().read(true).write(true).create(true).truncate(false).open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(io::Error::other(format!(
                "{} belongs to another user; remove target/testdb once its server is stopped",
                path.display()
            )))
        }
        other => other,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
