//! svix-server: a binary given by its path, on a database of its own in the PostgreSQL of the run
//! and on a Redis of its own, and customers made over its API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use reqwest::Client;
use serde_json::{Value, json};

use super::redis::Redis;
use super::side::{Customer, Side, Whose};
use super::started::{Started, free_address};
use crate::application::POOL_SIZE;
use crate::place::Place;
use crate::receiver::Receiver;

const DATABASE: &str = "beside_svix";
const CREATE: &str = "create database beside_svix";
/// Longer than a health check takes whose Redis and PostgreSQL are there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Signs the token for the API; lasts for one run.
const SECRET: &str = "a-secret-that-lasts-for-one-benchmark";

/// A binary that runs, and what it says it is.
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

impl Binary {
    /// Asks what is there for its version.
    pub(crate) fn find(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no svix-server at {}", path.display()))?;
        let said = output(Command::new(&path).arg("--version"))?;
        let version = said.split_whitespace().last();
        let version = version.with_context(|| format!("{} has no version", path.display()))?;
        Ok(Self { version: version.to_owned(), path })
    }
}

/// The running server.
pub(crate) struct Svix {
    started: Started,
    address: SocketAddr,
    token: String,
    database: String,
}

impl Svix {
    /// Starts it and waits until it says that it is well.
    pub(crate) async fn start(binary: &Binary, place: &Place, redis: &Redis) -> Result<Self> {
        let database = place.database(DATABASE, CREATE).await?.superuser;
        let address = free_address()?;
        // Empty: it would read .env and config.toml where it stands, and .env above it.
        let folder = place.path("svix");
        std::fs::create_dir(&folder)?;
        let command = || {
            let mut command = Command::new(&binary.path);
            // Only what is said here: not what the shell happens to have.
            for (name, _) in std::env::vars_os() {
                if name.as_encoded_bytes().starts_with(b"SVIX_") {
                    command.env_remove(name);
                }
            }
            command.current_dir(&folder).envs(settings(&database, redis, address));
            command
        };
        let said = output(command().args(["jwt", "generate"]))?;
        let token = said.split_whitespace().last().context("svix-server made no token")?.to_owned();
        let mut serve = command();
        serve.arg("--run-migrations");
        let started = Started::start("svix-server", serve, place.path("svix.log"))?;
        let client = Client::builder().timeout(PATIENCE).build()?;
        let health = format!("http://{address}/api/v1/health/");
        let is_well = async || {
            let answer = client.get(&health).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        started.until(is_well).await?;
        Ok(Self { started, address, token, database })
    }

    /// Makes customers: applications with one endpoint each, at the receiver.
    pub(crate) async fn sign_up(&self, receiver: &Receiver, count: usize) -> Result<Side> {
        let base = format!("http://{}", self.address);
        let mut customers = Vec::new();
        for number in 0..count {
            let application = json!({"name": format!("customer {number}")});
            let application = self.make(&format!("{base}/api/v1/app/"), &application).await?;
            let id = application["id"].as_str().context("an application without an id")?;
            // Older servers want a version.
            let endpoint = json!({"url": receiver.url(), "version": 1});
            self.make(&format!("{base}/api/v1/app/{id}/endpoint/"), &endpoint).await?;
            let path = format!("/api/v1/app/{id}/msg/");
            customers.push(Customer { path, token: self.token.clone() });
        }
        Ok(Side {
            whose: Whose::Svix,
            base,
            database: self.database.clone(),
            pid: self.pid(),
            customers,
            body: body(),
        })
    }

    async fn make(&self, url: &str, new: &Value) -> Result<Value> {
        let client = Client::new();
        let answer = client.post(url).bearer_auth(&self.token).json(new).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "POST {url} was answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// Returns when it has ended.
    pub(crate) async fn dies(&self) -> Error {
        self.started.dies().await
    }

    /// A failure may be its own: the end of its log says so, or says nothing of it.
    pub(crate) fn or_its_log<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let text = format!("{error:#}");
            if text.contains("of its log") {
                return error;
            }
            anyhow!("{text}\nAs for svix-server: {}", self.started.last_lines())
        })
    }
}

/// What it is told; see its `config.default.toml`. What is not here stays as it comes.
fn settings(
    database: &str,
    redis: &Redis,
    address: SocketAddr,
) -> impl Iterator<Item = (&'static str, String)> {
    let pool = POOL_SIZE.to_string();
    [
        ("SVIX_LISTEN_ADDRESS", address.to_string()),
        ("SVIX_DB_DSN", database.to_owned()),
        ("SVIX_DB_POOL_MAX_SIZE", pool.clone()),
        ("SVIX_REDIS_DSN", redis.url()),
        ("SVIX_REDIS_POOL_MAX_SIZE", pool),
        ("SVIX_QUEUE_TYPE", "redis".to_owned()),
        ("SVIX_CACHE_TYPE", "redis".to_owned()),
        ("SVIX_JWT_SECRET", SECRET.to_owned()),
        ("SVIX_WHITELIST_SUBNETS", r#"["127.0.0.0/8"]"#.to_owned()),
        // A line for each request would cost it time.
        ("RUST_LOG", "warn".to_owned()),
    ]
    .into_iter()
}

/// A message whose payload is what Freehold sends: as many bytes reach the receiver.
fn body() -> (String, String) {
    let before = r#"{"eventType":"order.paid","payload":{"data":{"orderId":""#;
    let after = r#"","total":4200},"timestamp":"2026-11-22T00:00:00.000Z","type":"order.paid"}}"#;
    (before.to_owned(), after.to_owned())
}

/// What a command says before it ends.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let program = Path::new(&program).display();
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("{program} does not run"))?;
    let [said, faults] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(status.success(), "{program} ended with {status}: {said}{faults}");
    Ok(said)
}
