//! The receiver of webhooks: a thread of its own, which answers 204 and remembers what came when.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const POLL: Duration = Duration::from_millis(1);

/// A running receiver; it ends when it is dropped.
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    log: Arc<Mutex<Log>>,
    // Dropped, it tells the thread.
    _running: oneshot::Sender<()>,
}

/// What has arrived since it was last forgotten.
#[derive(Default)]
struct Log {
    /// By the `webhook-id` of the request.
    first: HashMap<String, Instant>,
    /// All requests, those with an id that had come before included.
    requests: u64,
    /// By path: how many came there, and when the latest.
    places: HashMap<String, (u64, Instant)>,
}

/// What has arrived, to be compared with what was accepted.
pub(super) struct Arrived {
    pub(super) first: HashMap<String, Instant>,
    pub(super) requests: u64,
}

impl Receiver {
    /// Listens; port 0 takes a free one.
    pub(super) async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            anyhow!("webhooks cannot be received on {address}: {error}. Name another: --receive-on")
        })?;
        let address = listener.local_addr()?;
        let listener = listener.into_std()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let (running, stopped) = oneshot::channel();
        // One thread: it is to be out of the way, and its clock must not wait for the load.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = log.clone();
        std::thread::Builder::new().name("bench receiver".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = receive(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, log, _running: running })
    }

    /// How many different ids have arrived.
    pub(super) fn count(&self) -> usize {
        locked(&self.log).first.len()
    }

    /// Answers what has arrived and begins anew.
    pub(super) fn take(&self) -> Arrived {
        let log = std::mem::take(&mut *locked(&self.log));
        Arrived { first: log.first, requests: log.requests }
    }

    /// When the request with this number (from 1) came to a path.
    pub(super) async fn nth(
        &self,
        path: &str,
        number: u64,
        patience: Duration,
    ) -> anyhow::Result<Instant> {
        let arrived = async {
            loop {
                if let Some((count, at)) = locked(&self.log).places.get(path)
                    && *count >= number
                {
                    return *at;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(patience, arrived).await.context("nothing arrived")
    }
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(listener: std::net::TcpListener, log: Arc<Mutex<Log>>) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // Where it cannot be set, answers are a little later.
        let _ = stream.set_nodelay(true);
        let log = log.clone();
        let service = service_fn(move |request| take(request, log.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Takes the whole request, as a real receiver would.
async fn take(
    request: Request<Incoming>,
    log: Arc<Mutex<Log>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = match (id, body.collect().await) {
        (Some(id), Ok(_)) => {
            let mut log = locked(&log);
            log.requests += 1;
            log.first.entry(id).or_insert(at);
            let place = log.places.entry(head.uri.path().to_owned()).or_insert((0, at));
            *place = (place.0 + 1, at);
            StatusCode::NO_CONTENT
        }
        _ => StatusCode::BAD_REQUEST,
    };
    Ok(answer)
}
