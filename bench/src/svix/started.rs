//! A server that was started: what it says goes to a file, whose end is shown when it fails.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};

use crate::running::Running;

/// Longer without an answer is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// So much of the log tells why it failed, and fits a screen.
const LINES: usize = 20;

/// The server; dropped, it is killed.
pub(crate) struct Started {
    name: &'static str,
    running: Mutex<Running>,
    pid: u32,
    log: PathBuf,
}

impl Started {
    /// Starts it, with standard output and standard error in one file.
    pub(crate) fn start(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // Ctrl-C is for us to pass on.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not run"))?;
        let pid = child.id();
        Ok(Self { name, running: Mutex::new(Running(child)), pid, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it answers.
    pub(crate) async fn until(&self, answers: impl AsyncFn() -> bool) -> Result<()> {
        let began = Instant::now();
        while !answers().await {
            if let Some(failure) = self.ended() {
                return Err(failure);
            }
            if began.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                bail!("{} was not ready in {seconds} s. {}", self.name, self.last_lines());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Returns when it has ended, which nobody asked it to.
    pub(crate) async fn dies(&self) -> Error {
        loop {
            if let Some(failure) = self.ended() {
                return failure;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The end of its log, to be read after the reason for a failure.
    pub(crate) fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return "It has logged nothing.".to_owned();
        }
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("The last lines of its log:\n{last}")
    }

    fn ended(&self) -> Option<Error> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.0.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => {
                Some(anyhow!("{} ended with {status}. {}", self.name, self.last_lines()))
            }
            Err(error) => Some(error.into()),
        }
    }
}

/// An address that nobody else on this machine wants in the next moment.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
