//! An installation for one measurement: `freehold up` in a temporary folder, from this same
//! program, with a PostgreSQL of its own. It goes when it is dropped, however that comes about.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use freehold_embedded_postgres::find_binaries;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::interrupt::Interrupt;
use crate::settings::Settings;

/// The limiter works for every request and refuses none.
const PLENTY: &str = "100000000";
/// The first start, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// More than `up` gives requests under way and PostgreSQL together.
const FAREWELL: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The running installation.
pub(super) struct Scratch {
    child: Child,
    /// Where it serves.
    pub(super) url: String,
    /// Its PostgreSQL's version.
    pub(super) postgres: String,
    // Last: it goes once nobody runs in it any more.
    folder: TempDir,
}

/// Whose processor time is asked for.
#[derive(Clone, Copy)]
pub(super) struct Processes {
    pub(super) freehold: u32,
    pub(super) postgres: Option<u32>,
}

impl Scratch {
    /// Makes the folder, starts, and waits until it is ready.
    pub(super) async fn start(settings: &Settings, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let binaries = find_binaries(settings.postgres_bin.as_deref())?;
        // Root runs PostgreSQL as another user, who must be able to enter.
        let open = Permissions::from_mode(0o755);
        let folder =
            tempfile::Builder::new().prefix("freehold-bench-").permissions(open).tempdir()?;
        let mut child = command(settings, binaries.dir(), folder.path())?.spawn()?;
        let ready = listen(&mut child)?;
        let postgres = binaries.version().to_owned();
        let mut scratch = Self { child, url: String::new(), postgres, folder };
        let ready = interrupt.or(async {
            tokio::time::timeout(PATIENCE, ready).await?.context("it ended before it was ready")
        });
        match ready.await {
            Ok(url) => scratch.url = url,
            Err(error) if interrupt.check().is_err() => return Err(error),
            Err(error) => {
                let said = fs::read_to_string(scratch.folder.path().join("log"));
                return Err(anyhow!(
                    "the scratch installation did not start ({error:#}): {}",
                    said.unwrap_or_default().trim()
                ));
            }
        }
        Ok(scratch)
    }

    /// Whose processor time is the installation's.
    pub(super) fn processes(&self) -> Processes {
        let postgres = self.cluster().and_then(|cluster| postmaster(&cluster));
        Processes { freehold: self.child.id(), postgres }
    }

    /// Where everything lies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where PostgreSQL's data are: elsewhere, if its user cannot enter the folder.
    fn cluster(&self) -> Option<PathBuf> {
        let data = self.folder.path().join("data");
        let text = fs::read_to_string(data.join("instance.json")).ok()?;
        let instance: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(data.join(instance["cluster"].as_str()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let cluster = self.cluster();
        end(&mut self.child);
        let Some(cluster) = cluster else { return };
        // Only if the installation had to be killed: its PostgreSQL outlives it.
        if let Some(pid) = postmaster(&cluster) {
            signal(pid, Signal::INT);
            wait_until(|| !cluster.join("postmaster.pid").exists());
        }
        if !cluster.starts_with(self.folder.path())
            && let Some(home) = cluster.parent()
        {
            // What cannot be removed, the next `freehold doctor` names.
            let _ = fs::remove_dir_all(home);
        }
    }
}

/// `freehold up`, deaf to the settings of whoever measures but for those that a figure is about.
fn command(settings: &Settings, postgres: &Path, folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--no-demo", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(folder.join("data")).current_dir(folder).env_clear();
    for known in ["PATH", "HOME", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(known) {
            command.env(known, value);
        }
    }
    command
        .env("FREEHOLD_POSTGRES_BIN", postgres)
        .env("FREEHOLD_POOL_SIZE", settings.database.pool_size.to_string())
        .env("FREEHOLD_METRICS", "off");
    for limit in ["PER_IP_PER_MINUTE", "PER_IP_BURST", "PER_TENANT_PER_MINUTE", "PER_TENANT_BURST"]
    {
        command.env(format!("FREEHOLD_LIMIT_{limit}"), PLENTY);
    }
    command
        // Ctrl-C on the terminal is for us; we end it ourselves, in order.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log"))?);
    Ok(command)
}

/// Reads what it prints for as long as it runs, and tells where it serves.
fn listen(child: &mut Child) -> anyhow::Result<oneshot::Receiver<String>> {
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut tell = Some(tell);
        for line in lines.map_while(Result::ok) {
            let ready = line.strip_prefix("Freehold is ready at ");
            if let Some(url) = ready.and_then(|rest| rest.split(' ').next())
                && let Some(tell) = tell.take()
            {
                // The other end is gone when somebody has interrupted the start.
                let _ = tell.send(url.replacen("localhost", "127.0.0.1", 1));
            }
        }
    });
    Ok(told)
}

/// As a service manager would; then as an accident would.
fn end(child: &mut Child) {
    signal(child.id(), Signal::TERM);
    if !wait_until(|| !matches!(child.try_wait(), Ok(None))) {
        // Neither can fail in a way that matters: it has ended, or it ends now.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < FAREWELL {
        if done() {
            return true;
        }
        sleep(POLL);
    }
    false
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

/// The process that all of PostgreSQL's others are children of.
fn postmaster(cluster: &Path) -> Option<u32> {
    let file = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    file.lines().next()?.trim().parse().ok()
}
