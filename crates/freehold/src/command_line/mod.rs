//! The command line: what was typed, and what runs.

mod command;
mod document;

use std::collections::HashMap;
use std::path::Path;

use clap::ArgMatches;
use freehold_kernel::telemetry;
use freehold_kernel::trace::Export;

pub use command::command;
pub use document::table_of_commands;

use crate::settings::{SETTINGS, Settings, SettingsError, Sources};
use crate::{bench, commands};

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
    let settings = match Settings::read(&sources) {
        Err(error) if name == "doctor" => return commands::bad_settings(&error, matches),
        read => read?,
    };
    // What a proof breaks, it breaks on purpose: the log would hold nothing else.
    let log = if name == "prove" { "off" } else { &settings.log };
    telemetry::init(log, settings.log_format).map_err(|error| {
        anyhow::anyhow!("FREEHOLD_LOG cannot be understood ({error}). An example: info")
    })?;
    let is_node = matches!(name, "up" | "serve" | "work");
    let _export = if is_node { export(&settings)? } else { None };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match name {
        "up" => runtime.block_on(commands::up(settings)),
        "serve" => runtime.block_on(commands::serve(settings)),
        "work" => runtime.block_on(commands::work(settings)),
        "migrate" => runtime.block_on(commands::migrate(&settings)),
        "doctor" => runtime.block_on(commands::doctor(&settings, matches)),
        "admin" => runtime.block_on(commands::admin(&settings, matches)),
        "prove" => runtime.block_on(commands::prove(&settings, matches)),
        "bench" => runtime.block_on(bench::run(&settings, matches)),
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
