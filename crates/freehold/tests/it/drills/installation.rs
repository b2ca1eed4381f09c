//! A PostgreSQL of the drill's own, to be restarted, killed and filled, and nodes over it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold_embedded_postgres::{Options, Server};
use freehold_testkit::Pooler;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool};
use tempfile::TempDir;

use crate::nodes::{KEY, Node, command, pooled};
use crate::process::folder;

/// The folder of everything, and the database.
pub(super) struct Installation {
    options: Options,
    postgres: Option<Server>,
    /// Where the superuser logs in.
    owner_url: String,
    /// What nodes have to know of it.
    known: Vec<(&'static str, String)>,
    _pooler: Option<Pooler>,
    /// Last, so that it goes after what is in it.
    folder: TempDir,
}

impl Installation {
    /// A migrated database. A commit is on its way to the disk when it is acknowledged: a killed
    /// PostgreSQL has it, only a power cut would not.
    pub(super) fn new() -> Self {
        let folder = folder();
        Self::in_folder(folder.path().join("postgres"), folder)
    }

    /// The same, with the data somewhere else.
    pub(super) fn in_folder(data: PathBuf, folder: TempDir) -> Self {
        let settings = [("fsync", "off"), ("min_wal_size", "32MB"), ("max_wal_size", "64MB")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = Options { settings: settings.to_vec(), ..Options::new(data) };
        let postgres = Server::start(&options).unwrap();
        let owner_url = postgres.url("postgres", "postgres");
        let owner = [("DATABASE_OWNER_URL", owner_url.as_str())];
        let migrated = command(folder.path(), &["migrate"], &owner).output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let (pooler, known) = pooled(&postgres);
        Self { options, postgres: Some(postgres), owner_url, known, _pooler: pooler, folder }
    }

    /// Where the superuser asks what there is.
    pub(super) fn sql(&self) -> PgPool {
        PgPool::connect_lazy(&self.owner_url).unwrap()
    }

    /// The superuser, for a transaction of the drill's own.
    pub(super) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.owner_url).await.unwrap()
    }

    /// The socket that PostgreSQL listens on.
    pub(super) fn socket(&self) -> PathBuf {
        self.postgres.as_ref().unwrap().socket_dir().join(".s.PGSQL.5432")
    }

    /// Stops PostgreSQL as `pg_ctl stop -m fast` does.
    pub(super) fn stop_database(&mut self) {
        self.postgres.take().unwrap().stop().unwrap();
    }

    /// Starts it again. What a killed one has left may be in the way for a moment.
    pub(super) fn start_database(&mut self) {
        let patience = Instant::now() + Duration::from_secs(20);
        let started = loop {
            match Server::start(&self.options) {
                Ok(server) => break server,
                Err(error) => assert!(Instant::now() < patience, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(started.url("postgres", "postgres"), self.owner_url, "where it was before");
        self.postgres = Some(started);
    }

    /// Kills the postmaster with SIGKILL; its children follow by themselves.
    pub(super) fn kill_database(&mut self) {
        let server = self.postgres.take().unwrap();
        let file = std::fs::read_to_string(server.cluster_dir().join("postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        // It has nothing left to stop.
        drop(server);
    }

    /// Starts it if it does not come back by itself, as whoever looks after it would; says whether.
    pub(super) async fn start_database_if_it_went(&mut self) -> bool {
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if sqlx::query("select 1").execute(&self.sql()).await.is_ok() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.postgres = None;
        tokio::task::block_in_place(|| self.start_database());
        true
    }

    /// A `serve` at this address.
    pub(super) fn serve(&self, address: SocketAddr, further: &[(&str, &str)]) -> Node {
        self.node(&["serve", "--listen", &address.to_string()], further)
    }

    /// An `up` at this address over the same database: it answers and works, and its webhooks may
    /// go to this machine.
    pub(super) fn up(&self, address: SocketAddr, further: &[(&str, &str)]) -> Node {
        let data = self.folder.path().join(format!("up-{}", address.port()));
        let arguments =
            ["up", "--no-demo", "--listen", &address.to_string(), "--data-dir", path(&data)];
        self.node(&arguments, further)
    }

    fn node(&self, arguments: &[&str], further: &[(&str, &str)]) -> Node {
        let mut environment = vec![
            ("FREEHOLD_SECRET_KEY", KEY),
            ("FREEHOLD_PUBLIC_URL", "https://app.example.com"),
            ("FREEHOLD_LOG", "error"),
            ("FREEHOLD_LIMIT_PER_IP_PER_MINUTE", "6000000"),
            ("FREEHOLD_LIMIT_PER_IP_BURST", "1000000"),
            ("FREEHOLD_LIMIT_PER_TENANT_PER_MINUTE", "6000000"),
            ("FREEHOLD_LIMIT_PER_TENANT_BURST", "1000000"),
        ];
        environment.extend(self.known.iter().map(|(name, value)| (*name, value.as_str())));
        environment.extend(further);
        tokio::task::block_in_place(|| Node::start(self.folder.path(), arguments, &environment))
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Addresses below the ports that outgoing connections take: nobody has them when a node comes back.
pub(super) fn addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let mut taken = Vec::new();
    while taken.len() < COUNT {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..32_000)));
        if let Ok(listener) = TcpListener::bind(address) {
            taken.push(listener);
        }
    }
    let addresses: Vec<SocketAddr> = taken.iter().map(|l| l.local_addr().unwrap()).collect();
    addresses.try_into().unwrap()
}

/// Registers somebody who owns a tenant; answers their access token.
pub(super) async fn register(address: SocketAddr, name: &str) -> String {
    let person = json!({
        "email": format!("{name}@example.org"), "password": "tarn-Kelp7-obverse", "name": name,
    });
    let url = format!("http://{address}/api/v1/auth/register");
    let answer = http().post(url).json(&person).send().await.unwrap();
    let told: Value = answer.json().await.unwrap();
    told["accessToken"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// A client that sends each request once.
pub(super) fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .retry(reqwest::retry::never())
        .timeout(Duration::from_secs(40))
        .build()
        .unwrap()
}
