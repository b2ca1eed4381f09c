//! Figures, each beside its ceiling, measured in one run on one machine: see the README.

mod application;
mod ceiling;
mod load;
mod place;
mod report;
mod rows;
mod start;
mod tokens;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use place::Place;
use report::Report;

/// Access tokens live ten minutes and are not renewed; the rounds must fit.
const LONGEST: Duration = Duration::from_secs(500);

/// Measures Freehold beside its ceilings and prints one table.
#[derive(Parser)]
struct Options {
    /// How often each figure is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Only these rows, separated by commas: read, patch, post, tokens, start. Their ceilings go
    /// with them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    /// Whether these rows were asked for.
    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|asked| asked == row)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(report) => {
            report.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Report> {
    let loads = u64::try_from(rows::LOADS)?;
    let total = Duration::from_secs(u64::from(options.rounds) * options.seconds * loads);
    ensure!(options.rounds > 0 && options.seconds > 0, "at least one round of one second");
    ensure!(total <= LONGEST, "{loads} loads in these rounds take longer than a token lives");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Stop::listen()?;
        let place = tokio::task::spawn_blocking(Place::make).await??;
        let outcome = tokio::select! {
            outcome = Box::pin(run(options, &place)) => outcome,
            () = stop.asked() => Err(anyhow!("interrupted; everything is cleaned up")),
        };
        // Whatever came out, nothing stays behind.
        tokio::task::spawn_blocking(|| place.remove()).await??;
        outcome
    })
}

async fn run(options: &Options, place: &Place) -> Result<Report> {
    let mut report = Report::new(options.rounds, options.seconds, options.connections);
    if ["read", "patch", "post", "tokens"].iter().any(|row| options.wants(row)) {
        let application = application::Application::start(place).await?;
        if ["read", "patch", "post"].iter().any(|row| options.wants(row)) {
            rows::measure(options, place, &application, &mut report).await?;
        }
        if options.wants("tokens") {
            tokens::measure(options.rounds, &application, &mut report).await?;
        }
        application.stop().await?;
    }
    if options.wants("start") {
        start::measure(place, &mut report).await?;
    }
    Ok(report)
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
