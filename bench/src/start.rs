//! The binary: how long until it serves, cold and warm, and how much memory it holds then.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use freehold_embedded_postgres::{Options, Server};
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};

use crate::application::register;
use crate::place::Place;
use crate::report::{Figure, Report, progress};

const RESTARTS: u32 = 5;
const REQUESTS: u32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(2);

/// Measures starts and memory, or says loudly why not.
pub(crate) async fn measure(place: &Place, report: &mut Report) -> Result<()> {
    let Some(binary) = binary("start and memory", report)? else { return Ok(()) };
    let folder = place.path("freehold");
    let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
    let (mut running, cold) = start(&binary, &folder, &client).await?;
    running.stop()?;
    let mut warm = Vec::new();
    for _ in 0..RESTARTS {
        let (next, took) = start(&binary, &folder, &client).await?;
        warm.push(took);
        running = next;
        if warm.len() < usize::try_from(RESTARTS)? {
            running.stop()?;
        }
    }
    let idle = resident(running.pid())?;
    work(&client, running.address).await?;
    let worked = resident(running.pid())?;
    running.stop()?;
    report.add(Figure::seconds("start to ready, first time: initdb, schema, keys", vec![cold]));
    report.add(Figure::seconds("start to ready, again", warm));
    report.add(Figure::megabytes("resident memory when ready", idle));
    report.add(Figure::megabytes("resident memory after 1,000 requests", worked));
    Ok(())
}

/// The binary, if it was built; else the report says what is skipped.
pub(crate) fn binary(what: &str, report: &mut Report) -> Result<Option<PathBuf>> {
    let binary = std::env::current_exe()?.with_file_name("freehold");
    if binary.is_file() {
        return Ok(Some(binary));
    }
    let text = format!("SKIPPED: {what}, because {} is missing", binary.display());
    progress(&text);
    report.note(&text);
    Ok(None)
}

/// A `freehold up` that is told to stop, and waited for, however this ends: PostgreSQL would
/// outlive a killed one.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
    stopped: bool,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.stopped, true) {
            return Ok(());
        }
        let pid = Pid::from_child(&self.child);
        if self.child.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        let began = Instant::now();
        while self.child.try_wait()?.is_none() && began.elapsed() < PATIENCE {
            std::thread::sleep(POLL);
        }
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
            // Its PostgreSQL lives on: found by its folder, and stopped.
            Server::start(&Options::new(&self.folder))?.stop()?;
            bail!("freehold did not stop within {} s of SIGTERM", PATIENCE.as_secs());
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "freehold ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            progress(&format!("freehold did not stop well: {error}"));
        }
    }
}

/// Starts, and says how many seconds it took until `/health/ready` said yes.
pub(crate) async fn start(binary: &Path, folder: &Path, client: &Client) -> Result<(Running, f64)> {
    // Taken and let go of: nobody else on this machine wants it in the next moment.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let began = Instant::now();
    let child = Command::new(binary)
        .args(["up", "--no-demo", "--listen", &address.to_string(), "--data-dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Ctrl-C is for us to pass on.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} does not run", binary.display()))?;
    let mut running = Running { child, address, folder: folder.to_owned(), stopped: false };
    let url = format!("http://{address}/health/ready");
    loop {
        if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok((running, began.elapsed().as_secs_f64()));
        }
        if let Some(status) = running.child.try_wait()? {
            bail!("freehold ended with {status} before it was ready");
        }
        ensure!(began.elapsed() < PATIENCE, "freehold was not ready in {} s", PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

/// Somebody registers and reads their tenant, within the limits of an ordinary installation.
async fn work(client: &Client, address: SocketAddr) -> Result<()> {
    let base = format!("http://{address}/api/v1");
    let person = register(client, &base, 0).await?;
    let url = format!("{base}/tenant");
    for _ in 1..REQUESTS {
        let answer = client.get(&url).bearer_auth(&person.token).send().await?;
        answer.error_for_status()?.bytes().await?;
    }
    Ok(())
}

/// `VmRSS` of a process, in megabytes.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: f64 = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS in /proc")?
        .parse()?;
    Ok(kilobytes / 1024.0)
}
