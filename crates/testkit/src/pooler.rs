//! PgBouncer in transaction mode between the application and its database. Tests go through it when
//! `FREEHOLD_TEST_POOLER=transaction` says so, and do not know.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Few connections for many clients, so that nobody has one for long.
const POOL: &str = "
pool_mode = transaction
default_pool_size = 8
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
auth_type = trust
unix_socket_dir =
listen_addr = 127.0.0.1
";
const PATIENCE: Duration = Duration::from_secs(10);
/// The user that PostgreSQL's packages make; PgBouncer refuses to run as root.
const USER: &str = "postgres";

/// A running PgBouncer; killed when dropped.
pub struct Pooler {
    process: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Pooler {
    /// Whether tests are to go through one.
    #[must_use]
    pub fn is_wanted() -> bool {
        std::env::var("FREEHOLD_TEST_POOLER").is_ok_and(|mode| mode == "transaction")
    }

    /// Starts one before the PostgreSQL whose socket is in this folder.
    ///
    /// # Errors
    /// When PgBouncer is not installed or does not start.
    pub fn start(socket_dir: &Path) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let folder = std::env::temp_dir().join(format!("freehold-pooler-{}", Uuid::now_v7()));
        fs::create_dir(&folder)?;
        let (settings, users) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
        fs::write(&users, "\"freehold_app\" \"\"\n\"freehold_system\" \"\"\n")?;
        let databases = format!("[databases]\n* = host={} port=5432\n", socket_dir.display());
        let users = format!("auth_file = {}\nlisten_port = {port}\n", users.display());
        fs::write(&settings, format!("{databases}[pgbouncer]{POOL}{users}"))?;
        let mut command = Command::new(program());
        // Who may connect is who runs it: PostgreSQL asks the socket.
        if let Some((uid, gid)) = other_than_root()? {
            command.uid(uid).gid(gid);
        }
        let log = fs::File::create(folder.join("log"))?;
        command.arg("-q").arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{error}; type: apt-get install -y pgbouncer"))
        })?;
        let mut pooler = Self { process, address, folder };
        pooler.wait()?;
        Ok(pooler)
    }

    /// The same URL, by way of the pooler.
    #[must_use]
    pub fn before(&self, url: &str) -> String {
        let (login, rest) = url.split_once('@').expect("a URL of our own");
        let (_, path) = rest.split_once('/').expect("a URL with a database");
        let database = path.split('?').next().unwrap_or(path);
        format!("{login}@{}/{database}?sslmode=disable", self.address)
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if self.process.try_wait()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("PgBouncer does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Debian puts it where only root's path leads.
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/pgbouncer");
    if usual.is_file() { usual } else { PathBuf::from("pgbouncer") }
}

/// User and group to run as, if we are root.
fn other_than_root() -> io::Result<Option<(u32, u32)>> {
    let number = |flag: &str, name: &[&str]| -> io::Result<u32> {
        let asked = Command::new("id").arg(flag).args(name).output()?;
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        text.trim().parse().map_err(|_| io::Error::other(format!("there is no user {USER}")))
    };
    if number("-u", &[])? != 0 {
        return Ok(None);
    }
    Ok(Some((number("-u", &[USER])?, number("-g", &[USER])?)))
}
