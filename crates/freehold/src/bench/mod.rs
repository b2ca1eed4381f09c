//! `freehold bench`: measures an installation, a scratch one or one that is there, so that whoever
//! runs it can trust the figures and quote them.

mod caller;
mod cpu;
mod events;
mod http;
mod installation;
mod interrupt;
mod jobs;
mod limits;
mod load;
mod machine;
mod receiver;
mod report;
mod scratch;
mod webhooks;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::say;
use crate::settings::Settings;
use events::Scene;
use installation::Installation;
use interrupt::Interrupt;
use report::Report;
use scratch::Scratch;

/// Every webhook of a tenant counts against its limit of 100.
const CONNECTIONS_MAX: u64 = 64;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Http,
    Webhooks,
    Jobs,
}

/// How, and how much.
#[derive(Args)]
struct Options {
    /// An installation that is there, like `https://app.example.com`; a scratch one when absent.
    #[arg(long, requires = "keys")]
    url: Option<String>,
    /// An API key of a tenant in it, or @FILE that holds one; once for each tenant. Use tenants
    /// made for measuring: their audit log keeps what was done.
    #[arg(long = "key", value_name = "KEY", requires = "url")]
    keys: Vec<String>,
    /// How long each measurement takes; a second of warm-up comes on top.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How often each is made; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Connections at once.
    #[arg(long, default_value = "32", value_parser = connections)]
    connections: usize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[arg(skip)]
    receiving: Receiving,
}

/// How events come back to us.
#[derive(Args, Default)]
struct Receiving {
    /// The URL under which the installation reaches this machine, like `https://bench.example.com`
    /// in front of what --receive-on names. This machine's loopback when absent.
    #[arg(long, value_name = "URL", requires = "url", requires = "receive_on")]
    receiver: Option<String>,
    /// What the receiver listens on, like 0.0.0.0:8088; a free port of loopback when absent.
    #[arg(long, value_name = "ADDR")]
    receive_on: Option<SocketAddr>,
    /// Events in a request, where events are posted in batches.
    #[arg(long, value_name = "N", default_value = "100", value_parser = batch)]
    batch: usize,
}

impl What {
    const ALL: [Self; 3] = [Self::Http, Self::Webhooks, Self::Jobs];

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Webhooks => "webhooks",
            Self::Jobs => "jobs",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Http => "Reads and audited writes a second, and how long reads take",
            Self::Webhooks => "Events from the post to the receiver and the delivery log",
            Self::Jobs => {
                "The job queue: how fast it works a backlog off, how soon it starts a job"
            }
        }
    }

    /// Each figure and what it means.
    fn figures(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Http => http::FIGURES,
            Self::Webhooks => webhooks::FIGURES,
            Self::Jobs => jobs::FIGURES,
        }
    }

    /// What a key must allow.
    fn permissions(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["tenants:read", "webhooks:read", "webhooks:write", "webhooks:delete"],
            Self::Webhooks | Self::Jobs => {
                &["events:write", "webhooks:read", "webhooks:write", "webhooks:delete"]
            }
        }
    }

    fn command(self) -> Command {
        let mut help = format!("{}.\n\nThe figures:\n", self.about());
        for (name, meaning) in self.figures() {
            help.push_str(&format!("- {name}: {meaning}.\n"));
        }
        help.push_str(
            "\nEach is the median of the rounds, with the least and the most beside it. Errors are \
             counted by the code of the refusal; with any of them the command ends with 1. The \
             load shares this machine with what it measures: its share of a core is printed.",
        );
        let permissions = self.permissions().join(", ");
        let ending = format!("With --url, a key needs the permissions {permissions}.");
        let mut command = Options::augment_args(Command::new(self.name()));
        if self != Self::Http {
            command = Receiving::augment_args(command);
        }
        // After the arguments, which bring a text of their own.
        command.about(self.about()).long_about(help).after_help(ending)
    }
}

/// The command, for `--help` and for what was typed.
pub(crate) fn command() -> Command {
    Command::new("bench")
        .about("Measure an installation: a scratch one, or one that is there")
        .long_about(
            "Measures an installation. Without --url a scratch one is made for it: this same \
             program with a private PostgreSQL in a temporary folder. With --url and --key one \
             that is there is measured. What was made is removed at the end, and after Ctrl-C.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(What::ALL.map(What::command))
}

/// Measures and prints.
pub(crate) async fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<()> {
    let (name, matches) = matches.subcommand().unwrap_or(("", matches));
    // clap lets nothing else through.
    let what = What::ALL.into_iter().find(|what| what.name() == name).unwrap_or(What::Http);
    let mut options = Options::from_arg_matches(matches)?;
    if what != What::Http {
        options.receiving = Receiving::from_arg_matches(matches)?;
    }
    let interrupt = Interrupt::listen()?;
    let outcome = match options.url.clone() {
        None => measure_scratch(settings, what, options, &interrupt).await,
        Some(url) => measure_named(&url, what, options, &interrupt).await,
    };
    // With its causes: the terminal is told one sentence.
    let (text, faults) = outcome.map_err(|error| anyhow!("{error:#}"))?;
    say::line(&text);
    if faults > 0 {
        bail!("{faults} requests or events did not end well; the report counts them");
    }
    Ok(())
}

/// What to print, and how many errors are in it.
type Printed = (String, u64);

async fn measure_scratch(
    settings: &Settings,
    what: What,
    options: Options,
    interrupt: &Interrupt,
) -> anyhow::Result<Printed> {
    say_progress("starting a scratch installation");
    let scratch = Scratch::start(settings, interrupt).await?;
    let work = async {
        let installation = Installation::scratch(&scratch, what, interrupt).await?;
        measure(what, options, Arc::new(installation), interrupt.clone()).await
    };
    let outcome = work.await;
    // Waits for processes to end.
    tokio::task::spawn_blocking(move || drop(scratch)).await?;
    outcome
}

async fn measure_named(
    url: &str,
    what: What,
    options: Options,
    interrupt: &Interrupt,
) -> anyhow::Result<Printed> {
    let named = Installation::named(&options, what, url);
    let installation = Arc::new(interrupt.or(named).await?);
    // A task of its own, so that even a fault in it leaves us here to clean up.
    let work = tokio::spawn(measure(what, options, installation.clone(), interrupt.clone()));
    let outcome = work.await;
    say_progress("cleaning up");
    let outcome = outcome.map_err(anyhow::Error::from).flatten();
    if let Err(error) = interrupt.or_insisted(installation.clean_up()).await {
        let before = outcome.err().map(|error| format!("{error:#}\n")).unwrap_or_default();
        let name = &installation.name;
        bail!("{before}webhooks described as {name} are left, please remove them: {error:#}");
    }
    outcome
}

async fn measure(
    what: What,
    options: Options,
    installation: Arc<Installation>,
    interrupt: Interrupt,
) -> anyhow::Result<Printed> {
    let mut report = Report::new(what, &options, &installation);
    // What makes things is not cut in the middle, so that cleaning up finds all of them.
    match what {
        What::Http => {
            let writes = http::prepare(&installation, &options, &interrupt).await?;
            let work = http::measure(&installation, &options, writes, &mut report);
            interrupt.or(work).await?;
        }
        What::Webhooks => {
            let scene = Scene::prepare(&installation, &options, &interrupt).await?;
            interrupt.or(webhooks::measure(&scene, &options, &mut report)).await?;
        }
        What::Jobs => {
            let scene = Scene::prepare(&installation, &options, &interrupt).await?;
            interrupt.or(jobs::measure(&scene, &options, &mut report)).await?;
        }
    }
    let text = if options.json { format!("{:#}", report.json()) } else { report.text() };
    Ok((text, report.faults()))
}

/// Says how far we are, where it does not mix with the report.
fn say_progress(text: &str) {
    say::error(text);
}

fn connections(text: &str) -> Result<usize, String> {
    in_range(text, CONNECTIONS_MAX)
}

fn batch(text: &str) -> Result<usize, String> {
    in_range(text, 1_000)
}

fn in_range(text: &str, most: u64) -> Result<usize, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=most).contains(number));
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("a number from 1 to {most}"))
}
