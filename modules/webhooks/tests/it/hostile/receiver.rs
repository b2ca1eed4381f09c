//! A receiver that says what a test wants, byte by byte, and then behaves badly.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What a receiver does after the first bytes of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Closes the connection.
    Close,
    /// Resets it.
    Reset,
    /// Says no more, until the other side hangs up.
    Silence,
    /// Goes on, a byte at a time.
    Trickle,
    /// Goes on for a gigabyte.
    Flood,
}

/// Runs until the test ends.
pub(crate) struct Receiver {
    address: SocketAddr,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    hung_up: AtomicUsize,
}

impl Receiver {
    /// Answers every request with these bytes.
    pub(crate) async fn start(says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), says, then).unwrap()
    }

    /// The same at this address, if it is free.
    pub(crate) fn start_at(
        address: SocketAddr,
        says: impl Into<Vec<u8>>,
        then: Then,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4().unwrap();
        // Then what was written is known to have left, but for this much.
        socket.set_send_buffer_size(64 * 1024)?;
        socket.bind(address)?;
        let listener = socket.listen(1024)?;
        let address = listener.local_addr()?;
        let (says, tally) = (Arc::new(says.into()), Arc::new(Tally::default()));
        let counting = tally.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (says, tally) = (says.clone(), counting.clone());
                tokio::spawn(async move {
                    if talk(stream, &says, then, &tally).await.is_err() {
                        tally.hung_up.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Ok(Self { address, tally })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Requests that came.
    pub(crate) fn requests(&self) -> usize {
        self.tally.requests.load(Ordering::SeqCst)
    }

    /// Bytes that were taken off its hands.
    pub(crate) fn bytes(&self) -> usize {
        self.tally.bytes.load(Ordering::SeqCst)
    }

    /// Connections that the other side closed on it.
    pub(crate) fn hung_up(&self) -> usize {
        self.tally.hung_up.load(Ordering::SeqCst)
    }
}

/// One connection. An error is the other side hanging up.
async fn talk(mut stream: TcpStream, says: &[u8], then: Then, tally: &Tally) -> io::Result<()> {
    hear(&mut stream).await?;
    tally.requests.fetch_add(1, Ordering::SeqCst);
    say(&mut stream, says, tally).await?;
    match then {
        Then::Close => Ok(()),
        Then::Reset => stream.set_zero_linger(),
        Then::Silence => hear(&mut stream).await,
        Then::Trickle => loop {
            say(&mut stream, b".", tally).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        },
        Then::Flood => {
            let piece = vec![b'x'; 16 * 1024];
            for _ in 0..65_536 {
                say(&mut stream, &piece, tally).await?;
            }
            Ok(())
        }
    }
}

/// Reads a whole request.
async fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut heard = Vec::new();
    loop {
        if stream.read_buf(&mut heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&heard);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Ok(());
        }
    }
}

async fn say(stream: &mut TcpStream, bytes: &[u8], tally: &Tally) -> io::Result<()> {
    stream.write_all(bytes).await?;
    tally.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
    Ok(())
}
