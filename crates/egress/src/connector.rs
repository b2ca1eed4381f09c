//! The one place where connections are opened: resolve, judge, connect, shake hands.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::connection::Connection;
use crate::failure::{Failure, Phase};
use crate::refusal::Refusal;
use crate::resolver::Resolver;

#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) resolver: Resolver,
    pub(crate) tls: TlsConnector,
    pub(crate) plain_http: bool,
    pub(crate) limit: Duration,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Connection>, Failure> {
        let deadline = Instant::now() + self.limit;
        let late = |phase| move |_| Failure::Timeout { phase, limit: self.limit };
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        if !secure && !self.plain_http {
            return Err(Refusal::PlainHttp.into());
        }
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = timeout_at(deadline, self.resolver.addresses(host));
        let addresses = addresses.await.map_err(late(Phase::Dns))??;
        let (tcp, address) = open(&addresses, port, deadline, self.limit).await?;
        if !secure {
            return Ok(TokioIo::new(Connection::plain(tcp, address)));
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_| Refusal::HostName)?;
        let tls = timeout_at(deadline, self.tls.connect(name, tcp));
        let tls = tls.await.map_err(late(Phase::Tls))?.map_err(Failure::tls)?;
        Ok(TokioIo::new(Connection::secure(tls, address)))
    }
}

/// The first of the addresses that takes a connection. Each gets an equal share of the time that is
/// left, so that one silent address does not use up that of the others.
async fn open(
    addresses: &[IpAddr],
    port: u16,
    deadline: Instant,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut failure = Failure::Timeout { phase: Phase::Connect, limit };
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / left;
        let address = SocketAddr::new(*address, port);
        match timeout_at(share, dial(address)).await {
            Ok(Ok(tcp)) => return Ok((tcp, address)),
            Ok(Err(error)) => failure = Failure::Connect(Arc::new(error)),
            Err(_) => failure = Failure::Timeout { phase: Phase::Connect, limit },
        }
    }
    Err(failure)
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
