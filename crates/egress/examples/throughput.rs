//! Small POSTs a second over keep-alive to a local receiver: this crate, bare reqwest, bare hyper-util.
//!
//! `cargo run --release -p freehold-egress --example throughput`
#![allow(clippy::print_stdout)] // the figures are the output

use std::error::Error;
use std::fs::read_to_string;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freehold_egress::{Egress, HeaderValue, Options, Policy, Request};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WORKERS: u64 = 64;
const SECONDS: u64 = 4;
const BODY: &[u8] =
    br#"{"type":"user.created","timestamp":"2025-01-01T00:00:00Z","data":{"id":"0193"}}"#;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    if std::env::args().nth(1).as_deref() == Some("receive") {
        return receive();
    }
    let mut receiver = Command::new(std::env::current_exe()?)
        .arg("receive")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(receiver.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let url = format!("http://{}/hook", address.trim());
    let runtime = tokio::runtime::Runtime::new()?;
    for _round in 0..3 {
        runtime.block_on(bare_hyper(&url))?;
        runtime.block_on(through_egress(&url))?;
        runtime.block_on(bare_reqwest(&url))?;
    }
    receiver.kill()?;
    Ok(())
}

async fn through_egress(url: &str) -> Outcome<()> {
    let egress = Egress::new(Options { policy: Policy::development(), ..Options::default() })?;
    let target = egress.check_url(url)?;
    measure("egress", move || {
        let request = Request::post(target.clone(), BODY)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let egress = egress.clone();
        async move {
            egress.send(request).await?;
            Ok(())
        }
    })
    .await
}

async fn bare_hyper(url: &str) -> Outcome<()> {
    use hyper_util::client::legacy::{Client, connect::HttpConnector};
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> =
        Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
    let uri: http::Uri = url.parse()?;
    measure("hyper-util", move || {
        let (client, uri) = (client.clone(), uri.clone());
        async move {
            let request = http::Request::post(uri)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from_static(BODY)))?;
            let answer = client.request(request).await?;
            answer.into_body().collect().await?;
            Ok(())
        }
    })
    .await
}

async fn bare_reqwest(url: &str) -> Outcome<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(15))
        .build()?;
    let url: reqwest::Url = url.parse()?;
    measure("reqwest", move || {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let request = client.post(url).header("content-type", "application/json");
            request.body(Bytes::from_static(BODY)).send().await?.bytes().await?;
            Ok(())
        }
    })
    .await
}

/// Keeps `WORKERS` requests in flight for `SECONDS`; prints the rate and this process's CPU time.
async fn measure<F, R>(name: &str, once: F) -> Outcome<()>
where
    F: Fn() -> R + Clone + Send + 'static,
    R: Future<Output = Outcome<()>> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let (cpu, start) = (cpu_ticks()?, Instant::now());
    let workers = (0..WORKERS).map(|_| {
        let (once, done) = (once.clone(), done.clone());
        tokio::spawn(async move {
            while start.elapsed() < Duration::from_secs(SECONDS) {
                once().await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Ok(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    let done = done.load(Ordering::Relaxed);
    let rate = u128::from(done) * 1000 / start.elapsed().as_millis();
    let cpu = (cpu_ticks()? - cpu) * 10_000 / done;
    println!("{name:<12} {rate:>7} requests/s  {cpu:>4} µs CPU each");
    Ok(())
}

/// User and system time of this process, in hundredths of a second.
fn cpu_ticks() -> Outcome<u64> {
    let stat = read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(") ").next().ok_or("no stat")?;
    let fields = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(fields.collect::<Result<Vec<_>, _>>()?.iter().sum())
}

/// As little of a server as answers a POST that comes in one piece.
#[tokio::main(flavor = "current_thread")]
async fn receive() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut peer, _) = listener.accept().await?;
        peer.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut seen = [0; 4096];
            while peer.read(&mut seen).await? > 0 {
                peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
            }
            Outcome::Ok(())
        });
    }
}
