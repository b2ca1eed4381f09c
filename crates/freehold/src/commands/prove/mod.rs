//! `freehold prove isolation`: the sweeps that the tests run, run by whoever wants to see it for
//! themselves, in databases made for it and removed afterwards.

mod parts;
mod report;
mod running;
mod scratch;

use std::sync::Arc;

use anyhow::{anyhow, bail};
use clap::{Args, Command, FromArgMatches};
use freehold_kernel::crypto;
use tokio::task::LocalSet;

use self::parts::Plan;
use self::report::Report;
use self::scratch::Scratch;
use super::stop::Stop;
use crate::say;
use crate::settings::Settings;

/// How, and how much.
#[derive(Args)]
struct Options {
    /// How long many tasks compete for few connections.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// What is done at random, as an earlier run has printed it; something new when absent.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// A sample: fewer callers, fewer mutants and a few seconds of many tasks.
    #[arg(long)]
    quick: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// The command, for `--help` and for what was typed.
pub(crate) fn command() -> Command {
    let isolation = Options::augment_args(Command::new("isolation"))
        .about("Try to reach one tenant's data as another, in a scratch database")
        .long_about(
            "Starts this same program with a scratch database, lets two tenants live in it, and tries \
             to reach the data of the one as the other: every table with every verb, every route \
             as every kind of caller, many tasks on few connections, and a schema weakened on \
             purpose, which the checks must notice. Prints a line for each part, and a sentence for \
             everything that got through. Ends with 1 if anything has.\n\n\
             The scratch database is in a private PostgreSQL in a temporary folder. With \
             DATABASE_OWNER_URL set (a superuser's login) and DATABASE_URL, it is made on that \
             server, beside the installation's, which is not touched. What was made is removed at \
             the end, and after Ctrl-C. docs/isolation.md says what it proves, and what not.",
        );
    Command::new("prove")
        .about("Prove what Freehold promises")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(isolation)
}

/// Proves, prints, and removes what was made for it.
///
/// # Errors
/// When something got through, or nothing could be proved.
pub(crate) async fn prove(settings: &Settings, matches: &clap::ArgMatches) -> anyhow::Result<()> {
    // clap lets nothing but isolation through.
    let (_, matches) = matches.subcommand().unwrap_or(("", matches));
    let options = Options::from_arg_matches(matches)?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => u64::from(u32::from_be_bytes(crypto::random::<4>()?)),
    };
    let plan = Plan { seconds: options.seconds, seed, quick: options.quick };
    let stop = Stop::listen()?;
    let report = Arc::new(Report::new(seed, options.json));
    let scratch = Arc::new(Scratch::make(settings).await?);
    report.note(&scratch.describe());
    let all = Box::pin(parts::all(scratch.clone(), plan, report.clone()));
    let outcome = LocalSet::new().run_until(until_asked_to_stop(stop, all)).await;
    let removed = match Arc::into_inner(scratch) {
        Some(scratch) => scratch.remove().await,
        None => Err(anyhow!("the scratch database is still in use and could not be removed")),
    };
    // With its causes: the terminal is told one sentence.
    outcome.and(removed).map_err(|error| anyhow!("{error:#}"))?;
    say::line(&report.end());
    match report.findings() {
        0 => Ok(()),
        findings => bail!("{findings} findings: isolation does not hold as it should"),
    }
}

/// A task of its own, so that even a fault in it leaves us here to clean up.
async fn until_asked_to_stop(
    stop: Stop,
    work: impl Future<Output = anyhow::Result<()>> + 'static,
) -> anyhow::Result<()> {
    let mut work = tokio::task::spawn_local(work);
    tokio::select! {
        outcome = &mut work => outcome.map_err(anyhow::Error::from).flatten(),
        () = stop.asked() => {
            work.abort();
            // What it holds of the scratch goes with it.
            let _ = work.await;
            Err(anyhow!("interrupted"))
        }
    }
}
