//! The Redis that svix-server keeps its queue and its cache in, at its fastest: nothing goes to the
//! disk. That favours svix-server: what is queued is lost with Redis, where Freehold's is durable.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::started::{Started, free_address};
use crate::place::Place;

pub(crate) struct Redis {
    started: Started,
    address: SocketAddr,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub(crate) async fn start(place: &Place) -> Result<Self> {
        let address = free_address()?;
        let folder = place.path("redis");
        std::fs::create_dir(&folder)?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &address.port().to_string(), "--bind", &address.ip().to_string()])
            .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .arg("--dir")
            .arg(folder);
        let started = Started::start("redis-server", command, place.path("redis.log"))
            .context("Redis is needed: sudo apt-get install -y redis-server")?;
        started.until(async || answers(address).await.unwrap_or_default()).await?;
        Ok(Self { started, address })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// Returns when it has ended.
    pub(crate) async fn dies(&self) -> Error {
        self.started.dies().await
    }
}

async fn answers(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"+PONG\r\n")
}
