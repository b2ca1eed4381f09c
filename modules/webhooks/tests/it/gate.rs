//! A receiver that answers a request only once it is told to, and counts those that are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Where requests wait.
pub(crate) struct Gate {
    /// Where it listens.
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    /// How many may still be answered.
    let_go: Semaphore,
    /// Come in whole, and not answered.
    under_way: AtomicUsize,
    /// The most that there were at once.
    most: AtomicUsize,
    answered: AtomicUsize,
}

impl Gate {
    /// One that is closed.
    pub(crate) async fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let none = || AtomicUsize::new(0);
        let let_go = Semaphore::new(0);
        let state = State { let_go, under_way: none(), most: none(), answered: none() };
        let state = Arc::new(state);
        let theirs = state.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(hold(stream, theirs.clone()));
            }
        });
        Self { url, state }
    }

    /// Lets so many more be answered.
    pub(crate) fn let_go(&self, count: usize) {
        self.state.let_go.add_permits(count);
    }

    /// How many are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.state.under_way.load(Ordering::SeqCst)
    }

    /// How many were under way at once at the most.
    pub(crate) fn most(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    /// Waits, with a deadline, until so many are under way after so many were answered.
    pub(crate) async fn until(&self, under_way: usize, answered: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = (self.under_way(), self.state.answered.load(Ordering::SeqCst));
            if now == (under_way, answered) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{now:?} are under way and answered, not {under_way} and {answered}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn hold(mut stream: TcpStream, state: Arc<State>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
    let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    state.most.fetch_max(now, Ordering::SeqCst);
    state.let_go.acquire().await.unwrap().forget();
    state.under_way.fetch_sub(1, Ordering::SeqCst);
    state.answered.fetch_add(1, Ordering::SeqCst);
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.unwrap();
}

/// Whether the body has come as far as the head says.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= length.parse().unwrap()
}
