//! The command line: its texts, its flags (from the table of settings), and what runs.

use std::collections::HashMap;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use freehold_kernel::telemetry;
use freehold_kernel::trace::Export;

use crate::commands;
use crate::settings::{SETTINGS, Settings, SettingsError, Sources};

/// Read in the folder where the command is given.
const FILE: &str = "freehold.toml";

/// Does what was typed.
///
/// # Errors
/// Whatever stood in the way, said for a person.
pub fn run() -> anyhow::Result<()> {
    let matches = command().get_matches();
    let (name, matches) = matches.subcommand().unwrap_or(("", &matches));
    let sources = Sources {
        flags: flags(matches),
        environment: &|variable| std::env::var(variable).ok(),
        file: Path::new(FILE),
    };
    let settings = Settings::read(&sources)?;
    telemetry::init(&settings.log, settings.log_format).map_err(|error| {
        anyhow::anyhow!("FREEHOLD_LOG cannot be understood ({error}). An example: info")
    })?;
    let _export = export(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match name {
        "up" => runtime.block_on(commands::up(settings)),
        "serve" => runtime.block_on(commands::serve(settings)),
        "work" => runtime.block_on(commands::work(settings)),
        "migrate" => runtime.block_on(commands::migrate(&settings)),
        // clap lets nothing else through.
        _ => commands::openapi(&settings),
    }
}

/// Sends traces until it is dropped, if somebody wants them.
fn export(settings: &Settings) -> anyhow::Result<Option<Export>> {
    let Some(traces) = &settings.traces else { return Ok(None) };
    let started = Export::start(&traces.endpoint, traces.share);
    let started = started.map_err(|error| {
        anyhow::anyhow!("traces cannot be sent to FREEHOLD_OTLP_ENDPOINT: {error}")
    });
    started.map(Some)
}

/// 2 for what was asked in a way that makes no sense, 1 for what could not be done.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<SettingsError>() { 2 } else { 1 }
}

fn command() -> Command {
    let read_on = "Every setting is also a variable of the environment and a key of freehold.toml \
                   in this folder; docs/operate.md lists them.";
    Command::new("freehold")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The back office of a B2B SaaS in one binary")
        .after_help(read_on)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(up().after_help(read_on))
        .subcommand(
            Command::new("serve")
                .about("Answer requests: a node of an installation with a database of its own")
                .long_about(
                    "Answers requests and leaves events, jobs and schedules to nodes that work. \
                     Makes nothing and guesses nothing: DATABASE_URL, FREEHOLD_SECRET_KEY and \
                     FREEHOLD_PUBLIC_URL must be set, and the schema must have been migrated.",
                )
                .args(arguments().filter(|argument| argument.get_id() == "listen"))
                .after_help(read_on),
        )
        .subcommand(
            Command::new("work")
                .about("Work on events, jobs and schedules: the other kind of node")
                .long_about(
                    "Delivers webhooks and works on everything else that requests leave to do. \
                     Answers nobody. DATABASE_URL and FREEHOLD_SECRET_KEY must be set.",
                )
                .after_help(read_on),
        )
        .subcommand(
            Command::new("migrate")
                .about("Bring a database's schema up to date, and make the roles it lacks")
                .long_about(
                    "Brings the schema of a database up to date, and makes the roles it lacks. \
                     Running it again changes nothing.\n\nReads DATABASE_OWNER_URL, the login of \
                     somebody who may make roles: a superuser, or a managed database's \
                     administrator. `freehold up` does this by itself for its private PostgreSQL.",
                ),
        )
        .subcommand(
            Command::new("openapi").about("Print the API's OpenAPI 3.1 document").long_about(
                "Prints the API's OpenAPI 3.1 document as JSON. Needs no database; a running \
                     Freehold serves the same at /openapi.json and shows it at /docs.",
            ),
        )
}

/// The flags of settings that have one.
fn arguments() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter_map(|setting| {
        let (flag, key) = (setting.flag.as_ref()?, setting.key?);
        let arg = Arg::new(key).long(flag.name).help(match flag.value {
            Some(_) => format!("{} [default: {}]", setting.meaning, setting.default),
            None => "Make no demo tenant at the first start.".to_owned(),
        });
        Some(match flag.value {
            Some(value) => arg.value_name(value),
            None => arg.action(ArgAction::SetTrue),
        })
    })
}

fn up() -> Command {
    Command::new("up")
        .about("Start everything on this computer; nothing has to be set up first")
        .long_about(
            "Starts everything on this computer. The first start makes a private PostgreSQL, a \
             secret key, an operator and a demo tenant, and prints their credentials; all of it \
             stays in one folder. Ctrl-C stops it, the database last.",
        )
        .args(arguments())
}

/// What was typed, by key. A switch says `false`.
fn flags(matches: &ArgMatches) -> HashMap<&'static str, String> {
    let typed = SETTINGS.iter().filter_map(|setting| {
        let (flag, key) = (setting.flag.as_ref()?, setting.key?);
        let value = match flag.value {
            Some(_) => matches.try_get_one::<String>(key).ok()??.clone(),
            None => {
                matches.try_get_one::<bool>(key).ok()?.filter(|set| **set)?;
                "false".to_owned()
            }
        };
        Some((key, value))
    });
    typed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_reaches_its_key() -> anyhow::Result<()> {
        let typed = ["freehold", "up", "--listen", "127.0.0.1:4000", "--no-demo"];
        let matches = command().try_get_matches_from(typed)?;
        let (name, matches) = matches.subcommand().unwrap_or(("", &matches));
        let flags = flags(matches);
        assert_eq!(name, "up");
        assert_eq!(flags.get("listen").map(String::as_str), Some("127.0.0.1:4000"));
        assert_eq!(flags.get("demo").map(String::as_str), Some("false"));
        assert_eq!(flags.len(), 2);
        command().debug_assert();
        Ok(())
    }
}
