//! HTTP byte by byte, for clients that are slow, broken or gone.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where to connect.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    address: SocketAddr,
}

/// One connection.
pub struct RawConnection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The address the application listens on.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// Connects.
    pub async fn connect(self) -> RawConnection {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket that sends at once");
        RawConnection { stream, received: Vec::new() }
    }
}

impl RawConnection {
    /// Sends these bytes now.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the application takes what is sent");
    }

    /// Sends the head of a JSON request that says how long its body will be.
    pub async fn send_head(&mut self, method: &str, path: &str, token: &str, length: usize) {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    }

    /// Reads one answer and gives its status and body. Answers with a `content-length` only.
    pub async fn answer(&mut self) -> (u16, String) {
        loop {
            if let Some(answer) = self.take_answer() {
                return answer;
            }
            let mut chunk = [0; 8192];
            let reading = timeout(PATIENCE, self.stream.read(&mut chunk)).await;
            let read = reading.expect("an answer in time").expect("an open connection");
            assert!(read > 0, "the connection was closed after {:?}", self.text());
            self.received.extend_from_slice(&chunk[..read]);
        }
    }

    /// Reads until the application closes the connection.
    pub async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        let reading = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        // A connection that is reset has ended too.
        let _ = reading.expect("the end of the connection in time");
        self.received.extend(rest);
        self.text()
    }

    /// Closes the connection, whatever is under way.
    pub fn hang_up(self) {
        drop(self.stream);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn take_answer(&mut self) -> Option<(u16, String)> {
        let text = self.text();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0_usize);
        if body.len() < length {
            return None;
        }
        let body = body[..length].to_owned();
        self.received.drain(..head.len() + 4 + length);
        Some((status, body))
    }
}
