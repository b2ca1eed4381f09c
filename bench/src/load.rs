//! Load: wrk on HTTP and pgbench on PostgreSQL, each for a bounded time, and what they say.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::running::Running;

/// Starting, connecting and printing take a moment more than the load itself.
const MARGIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests or transactions a second.
    pub(crate) per_second: f64,
    /// Milliseconds that 99 of 100 took at most; pgbench does not say.
    pub(crate) p99_ms: Option<f64>,
    /// How many were answered; pgbench is not asked.
    pub(crate) answered: Option<i64>,
}

/// What makes load.
pub(crate) enum Load {
    /// HTTP requests over targets in turn.
    Http(Http),
    /// A script of pgbench's.
    Sql(Sql),
}

/// Requests that differ in target and, if they have a body, in a name.
pub(crate) struct Http {
    /// `http://127.0.0.1:<port>`
    pub(crate) base: String,
    pub(crate) method: &'static str,
    /// A file of targets, see `rotate.lua`.
    pub(crate) targets: PathBuf,
    /// The body before and after the name.
    pub(crate) body: Option<(String, String)>,
}

/// A script for pgbench.
pub(crate) struct Sql {
    pub(crate) pgbench: PathBuf,
    pub(crate) url: String,
    pub(crate) script: PathBuf,
}

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) seconds: u64,
    pub(crate) connections: u32,
}

impl Load {
    /// Makes the load, once.
    pub(crate) async fn run(&self, amount: Amount) -> Result<Sample> {
        match self {
            Self::Http(http) => http.run(amount).await,
            Self::Sql(sql) => sql.run(amount).await,
        }
    }
}

impl Http {
    async fn run(&self, amount: Amount) -> Result<Sample> {
        // Names must differ between runs, too: eight digits of one counter do.
        let run = uuid::Uuid::new_v4().simple().to_string();
        let script = self.targets.with_file_name("rotate.lua");
        tokio::fs::write(&script, include_str!("rotate.lua")).await?;
        let mut command = Command::new("wrk");
        command
            .args(["--threads", "2", "--latency", "--timeout", "5s"])
            .arg(format!("--connections={}", amount.connections))
            .arg(format!("--duration={}s", amount.seconds))
            .arg("--script")
            .arg(script)
            .arg(&self.base)
            .arg("--")
            .arg(&self.targets)
            .args([self.method, &run[..8]]);
        if let Some((before, after)) = &self.body {
            command.args([before, after]);
        }
        parse_wrk(&output(command, amount).await?)
    }
}

impl Sql {
    async fn run(&self, amount: Amount) -> Result<Sample> {
        let mut command = Command::new(&self.pgbench);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={}", amount.connections))
            .arg(format!("--time={}", amount.seconds))
            .arg("--file")
            .arg(&self.script)
            .arg(&self.url);
        parse_pgbench(&output(command, amount).await?)
    }
}

/// Runs to the end, or ends it when that takes too long.
async fn output(mut command: Command, amount: Amount) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("{program} does not run"))?;
    let mut running = Running(child);
    let limit = Duration::from_secs(amount.seconds) + MARGIN;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = running.0.try_wait()? {
            break status;
        }
        ensure!(began.elapsed() < limit, "{program} did not end within {} s", limit.as_secs());
        tokio::time::sleep(POLL).await;
    };
    // What it says is a screenful, which a pipe holds until it is read.
    let (mut text, mut faults) = (String::new(), String::new());
    running.0.stdout.take().context("no output")?.read_to_string(&mut text)?;
    running.0.stderr.take().context("no output")?.read_to_string(&mut faults)?;
    ensure!(status.success(), "{program} ended with {status}: {text}{faults}");
    Ok(text)
}

fn parse_wrk(text: &str) -> Result<Sample> {
    if let Some(faults) = text.lines().find(|line| line.contains("Non-2xx")) {
        bail!("the figure would count refusals: {}", faults.trim());
    }
    if let Some(faults) = text.lines().find(|line| line.contains("Socket errors")) {
        bail!("connections failed: {}", faults.trim());
    }
    let per_second = after(text, "Requests/sec:").and_then(|word| word.parse().ok());
    Ok(Sample {
        per_second: per_second.with_context(|| format!("wrk named no rate:\n{text}"))?,
        p99_ms: after(text, " 99%").and_then(milliseconds),
        answered: before(text, " requests in ").and_then(|word| word.parse().ok()),
    })
}

fn parse_pgbench(text: &str) -> Result<Sample> {
    let failed = after(text, "number of failed transactions:");
    ensure!(failed.is_none_or(|count| count == "0"), "transactions failed:\n{text}");
    let per_second = after(text, "tps =").and_then(|word| word.parse().ok());
    Ok(Sample {
        per_second: per_second.with_context(|| format!("pgbench named no rate:\n{text}"))?,
        p99_ms: None,
        answered: None,
    })
}

/// The first word after a label.
fn after<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    text.split_once(label)?.1.split_whitespace().next()
}

/// The last word before a label.
fn before<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    text.split_once(label)?.0.split_whitespace().last()
}

/// `870.00us`, `12.34ms` or `1.20s`.
fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_and_pgbench_print_is_understood() {
        let wrk = "  Latency Distribution\n     50%  1.29ms\n     99%  870.00us\n  76 requests in \
                   6.00s\nRequests/sec:  12345.67\nTransfer/sec: 1MB\n";
        let sample = parse_wrk(wrk).unwrap();
        assert!((sample.per_second - 12_345.67).abs() < 0.001);
        assert!((sample.p99_ms.unwrap() - 0.87).abs() < 0.001);
        assert_eq!(sample.answered, Some(76));
        assert!(parse_wrk(&format!("{wrk}  Non-2xx or 3xx responses: 3\n")).is_err());
        let pgbench = "number of failed transactions: 0 (0.000%)\ntps = 6900.5 (without …)\n";
        assert!((parse_pgbench(pgbench).unwrap().per_second - 6_900.5).abs() < 0.001);
        assert!(parse_pgbench(&pgbench.replace(": 0", ": 1")).is_err());
    }
}
