//! Figures, each beside its ceiling, measured in one run on one machine: see the README.

mod application;
mod backlog;
mod books;
mod by_hand;
mod ceiling;
mod client;
mod cpu;
mod customers;
mod events;
mod fanout;
mod idle;
mod latency;
mod load;
mod logins;
mod open_loop;
mod peers;
mod place;
mod queue;
mod receiver;
mod report;
mod rows;
mod running;
mod start;
mod statements;
mod svix;
mod tokens;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use mimalloc::MiMalloc;
use tokio::signal::unix::{Signal, SignalKind, signal};

use place::Place;
use report::Report;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
    /// Only these rows, separated by commas: read, patch, post, tokens, login, login-beside, flood, latency, events,
    /// events-batch, fanout, backlog, start, idle, jobs,
    /// jobs-peers, jobs-one, jobs-backlog, jobs-pinned, jobs-noise. Their ceilings go with them.
    /// With --svix, also: svix-events, svix-latency, svix-rate, which are all of them unless said.
    #[arg(long, value_delimiter = ',', value_parser = ROWS)]
    only: Vec<String>,
    /// Tenants that send events, each to a webhook of its own.
    #[arg(long, default_value_t = 8)]
    tenants: usize,
    /// How many jobs the rows about the queue enqueue and run.
    #[arg(long, default_value_t = 200_000)]
    jobs: u64,
    /// How many deliveries are due in the row about a backlog; the long form is 1000000.
    #[arg(long, default_value_t = 100_000)]
    due: i64,
    /// How long the row about a snapshot holds it, in seconds.
    #[arg(long, default_value_t = 30)]
    pinned_seconds: u64,
    /// Have PostgreSQL count its statements, which costs a little, and say what took its time in
    /// the rows about events.
    #[arg(long)]
    statements: bool,
    /// A svix-server binary to measure beside Freehold's webhooks: see bench/beside-svix.
    #[arg(long, value_name = "PATH")]
    svix: Option<PathBuf>,
    /// Events a second in the row svix-rate.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Be the receiver of webhooks, until standard input ends.
    #[arg(long, hide = true)]
    receive: bool,
    /// Be the application that is measured beside svix-server, until standard input ends.
    #[arg(long, hide = true)]
    serve: bool,
}

const REQUESTS: [&str; 3] = ["read", "patch", "post"];
const WEBHOOKS: [&str; 5] = ["latency", "events", "events-batch", "fanout", "backlog"];
const LOGINS: [&str; 3] = ["login", "login-beside", "flood"];
const ROWS: [&str; 23] = [
    "read",
    "patch",
    "post",
    "tokens",
    "login",
    "login-beside",
    "flood",
    "latency",
    "events",
    "events-batch",
    "fanout",
    "backlog",
    "start",
    "idle",
    "jobs",
    "jobs-peers",
    "jobs-one",
    "jobs-backlog",
    "jobs-pinned",
    "jobs-noise",
    "svix-events",
    "svix-latency",
    "svix-rate",
];

impl Options {
    /// Whether these rows were asked for.
    fn wants(&self, row: &str) -> bool {
        if self.only.is_empty() {
            // Everything of ours; or, beside svix-server, what is compared.
            return self.svix.is_some() == svix::ROWS.contains(&row);
        }
        self.only.iter().any(|asked| asked == row)
    }

    fn wants_any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| self.wants(row))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = if options.receive {
        receiver::receive()
    } else if options.serve {
        svix::serve()
    } else {
        measure(&options).map(|report| report.print())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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
    ensure!(
        total <= LONGEST || !options.wants_any(&REQUESTS),
        "{loads} loads in these rounds take longer than a token lives"
    );
    ensure!(
        options.svix.is_some() == options.wants_any(&svix::ROWS),
        "the rows {} and --svix PATH go together",
        svix::ROWS.join(", ")
    );
    let svix = options.svix.as_deref().map(svix::Binary::find).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Stop::listen()?;
        let counts_statements = options.statements;
        let place = tokio::task::spawn_blocking(move || Place::make(counts_statements)).await??;
        let outcome = tokio::select! {
            outcome = Box::pin(run(options, svix.as_ref(), &place)) => outcome,
            () = stop.asked() => Err(anyhow!("interrupted; everything is cleaned up")),
        };
        // Whatever came out, nothing stays behind.
        tokio::task::spawn_blocking(|| place.remove()).await??;
        outcome
    })
}

async fn run(options: &Options, svix: Option<&svix::Binary>, place: &Place) -> Result<Report> {
    let mut report = Report::new(options.rounds, options.seconds, options.connections);
    if options.wants_any(&[REQUESTS.as_slice(), &["tokens"], &LOGINS, &WEBHOOKS].concat()) {
        let application = application::Application::start(&place.urls()).await?;
        if options.wants_any(&REQUESTS) {
            rows::measure(options, place, &application, &mut report).await?;
        }
        if options.wants("tokens") {
            tokens::measure(options.rounds, &application, &mut report).await?;
        }
        if options.wants_any(&LOGINS) {
            logins::measure(options, &application, &mut report).await?;
        }
        if options.wants_any(&WEBHOOKS) {
            webhooks::measure(options, place, &application, &mut report).await?;
        }
        application.stop().await?;
    }
    if options.wants_any(&queue::ROWS) {
        queue::measure(options, place, &mut report).await?;
    }
    if let Some(binary) = svix {
        svix::measure(options, binary, place, &mut report).await?;
    }
    if options.wants("start") {
        start::measure(place, &mut report).await?;
    }
    if options.wants("idle") {
        idle::measure(place, &mut report).await?;
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
