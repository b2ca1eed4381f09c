//! Listens, serves, and stops without dropping a request.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};

use super::serve::Peer;
use crate::app::App;

const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket and the application behind it.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or may not be used.
    pub async fn bind(app: Arc<App>, address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { app, listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves, and for as long after that as load balancers need to see that
    /// it is no longer ready; then takes no new connections, lets requests under way finish within
    /// the grace period, and closes the pools.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let connections = GracefulShutdown::new();
        self.accept(&connections, stop).await;
        self.app.begin_stopping();
        let limits = &self.app.config().limits;
        let drained = tokio::time::sleep(limits.drain.min(limits.shutdown_grace));
        self.accept(&connections, drained).await;
        let Self { app, listener } = self;
        drop(listener);
        app.drain(connections.shutdown()).await;
    }

    /// Takes connections until `end` resolves.
    async fn accept(&self, connections: &GracefulShutdown, end: impl Future<Output = ()>) {
        let router = super::router(&self.app);
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let (app, router) = (self.app.clone(), router.clone());
                        tokio::spawn(connection(app, stream, peer, router, connections.watcher()));
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: breathe, so that some come back.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }
}

async fn connection(
    app: Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // An answer is one small write; waiting to fill a packet only delays it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
        let (app, router) = (app.clone(), router.clone());
        async move {
            let version = request.version();
            let mut response = answer(router, request.map(Body::new)).await?;
            // A connection that closes with an answer closes between requests: none is lost on it.
            if app.is_stopping() && version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(
    mut router: Router,
    request: hyper::Request<Body>,
) -> Result<axum::response::Response, Infallible> {
    ServiceExt::<hyper::Request<Body>>::ready(&mut router).await?.call(request).await
}
