//! An HTTP server that says exactly what a test wants, and counts.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use freehold_egress::{Egress, Limits, Options, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub(crate) const OK_CLOSE: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// Runs until the test ends.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    connections: AtomicUsize,
    requests: AtomicUsize,
    bytes_said: AtomicUsize,
    hung_up: Notify,
}

/// One connection, from the receiver's side.
pub(crate) struct Conversation {
    pub(crate) stream: TcpStream,
    tally: Arc<Tally>,
}

impl Receiver {
    /// Gives the same bytes for every request.
    pub(crate) async fn saying(answer: impl Into<String>) -> Self {
        Self::saying_at(loopback(0), answer).await
    }

    pub(crate) async fn saying_at(address: SocketAddr, answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(address, move |mut peer| {
            let answer = answer.clone();
            async move {
                while peer.hear().await?.is_some() {
                    peer.say(answer.as_bytes()).await?;
                }
                Ok(())
            }
        })
        .await
    }

    /// Holds every conversation as `talk` does; the connection closes when it returns.
    pub(crate) async fn talking<F, R>(talk: F) -> Self
    where
        F: Fn(Conversation) -> R + Send + 'static,
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::start(loopback(0), talk).await
    }

    async fn start<F, R>(address: SocketAddr, talk: F) -> Self
    where
        F: Fn(Conversation) -> R + Send + 'static,
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tally = Arc::new(Tally::default());
        let counting = tally.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                let tally = counting.clone();
                let talk = talk(Conversation { stream, tally: tally.clone() });
                tokio::spawn(async move {
                    let _ended = talk.await;
                    tally.hung_up.notify_one();
                });
            }
        });
        Self { address, tally }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.tally.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.tally.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes_said(&self) -> usize {
        self.tally.bytes_said.load(Ordering::SeqCst)
    }

    /// Waits for the end of a conversation.
    pub(crate) async fn hung_up(&self) {
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, self.tally.hung_up.notified()).await.unwrap();
    }
}

impl Conversation {
    /// The next request, head and body, or `None` when the other side has closed.
    pub(crate) async fn hear(&mut self) -> io::Result<Option<String>> {
        let mut heard = Vec::new();
        loop {
            if self.stream.read_buf(&mut heard).await? == 0 {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&heard);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                self.tally.requests.fetch_add(1, Ordering::SeqCst);
                return Ok(Some(text.into_owned()));
            }
        }
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.tally.bytes_said.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(())
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A client for a developer's machine.
pub(crate) fn development() -> Egress {
    with_limits(Limits::default())
}

pub(crate) fn with_limits(limits: Limits) -> Egress {
    let policy = Policy::development();
    Egress::new(Options { policy, limits, ..Options::default() }).unwrap()
}

/// Limits with a total short enough to wait for.
pub(crate) fn hurried() -> Limits {
    Limits { total: Duration::from_millis(400), ..Limits::default() }
}
