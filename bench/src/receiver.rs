//! The receiver of webhooks: a process of its own, so that its work is seen apart from the
//! application's, which answers 204 and remembers which id came when.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A running receiver.
pub(crate) struct Receiver {
    child: Child,
    address: SocketAddr,
}

/// What has arrived since it was last forgotten.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Different ids.
    pub(crate) ids: i64,
    /// All requests, those with an id that had come before included.
    pub(crate) requests: i64,
    /// The bodies of all requests.
    pub(crate) bytes: u64,
}

impl Receiver {
    /// Starts this same program once more, as a receiver.
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--receive")
            // It ends when this pipe does, that is with us, however we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().parse().context("the receiver did not say where it listens")?;
        Ok(Self { child, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where webhooks are sent.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// How many have arrived.
    pub(crate) async fn seen(&self) -> Result<Seen> {
        Ok(reqwest::get(self.at("seen")).await?.error_for_status()?.json().await?)
    }

    /// When each id first arrived, as [`monotonic`] tells it.
    pub(crate) async fn arrivals(&self) -> Result<HashMap<String, i64>> {
        Ok(reqwest::get(self.at("arrivals")).await?.error_for_status()?.json().await?)
    }

    /// Begins to count anew.
    pub(crate) async fn forget(&self) -> Result<()> {
        reqwest::Client::new().post(self.at("forget")).send().await?.error_for_status()?;
        Ok(())
    }

    /// The URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: it has ended, or it ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds on a clock that all processes of this machine share and nobody sets.
pub(crate) fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Receives until standard input ends: what `--receive` does.
pub(crate) fn receive() -> Result<()> {
    std::thread::spawn(|| {
        // Whatever it reads: when this returns, whoever started us is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listener.set_nonblocking(true)?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    // One thread: it is to be out of the way.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
            // Where it cannot be set, answers are a little later.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router()).await?;
        Ok(())
    })
}

#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    first: HashMap<String, i64>,
    requests: i64,
    bytes: u64,
}

/// Where the id is: as Standard Webhooks has it, or as svix-server says it unless told otherwise.
const ID: [&str; 2] = ["webhook-id", "svix-id"];

impl Arrived {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn router() -> Router {
    Router::new()
        .route("/hook", post(take))
        .route("/hang", post(std::future::pending::<()>))
        .route("/seen", get(seen))
        .route("/arrivals", get(arrivals))
        .route("/forget", post(forget))
        .with_state(Arrived::default())
}

/// Takes the whole request, as a real receiver would.
async fn take(State(arrived): State<Arrived>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let at = monotonic();
    let id = ID.iter().find_map(|name| headers.get(*name));
    let Some(id) = id.and_then(|id| id.to_str().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut log = arrived.log();
    log.requests += 1;
    log.bytes += body.len() as u64;
    log.first.entry(id.to_owned()).or_insert(at);
    StatusCode::NO_CONTENT
}

async fn seen(State(arrived): State<Arrived>) -> Result<Vec<u8>, StatusCode> {
    let log = arrived.log();
    let ids = i64::try_from(log.first.len()).unwrap_or(i64::MAX);
    json(&Seen { ids, requests: log.requests, bytes: log.bytes })
}

async fn arrivals(State(arrived): State<Arrived>) -> Result<Vec<u8>, StatusCode> {
    json(&arrived.log().first)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, StatusCode> {
    serde_json::to_vec(value).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn forget(State(arrived): State<Arrived>) -> StatusCode {
    *arrived.log() = Log::default();
    StatusCode::NO_CONTENT
}
