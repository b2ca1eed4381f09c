//! A request to ourselves: the demo tenant is made the way a customer makes one, and `doctor` asks
//! whether it is a Freehold that keeps an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// For an answer; whoever keeps the address may not speak HTTP.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of an answer.
const BODY_MOST: usize = 1 << 20;

/// Posts JSON to the service that listens on `address`; answers its status.
pub(super) async fn post(
    address: SocketAddr,
    path: &str,
    body: &Value,
) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(reachable(address)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let status = sender.send_request(request).await?.status();
    connection.abort();
    Ok(status)
}

/// Asks whoever listens on `address`; answers status and body.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let asking = async {
        let stream = TcpStream::connect(reachable(address)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request =
            Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_MOST).collect().await;
        connection.abort();
        let body = body.map_err(|_| anyhow!("no answer of ours"))?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(PATIENCE, asking).await?
}

/// "Everywhere" is an address to listen on, and none to call.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
