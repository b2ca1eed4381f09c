//! `freehold doctor`: everything that a start needs, looked at without starting. A line each: what was
//! found, and what to do about it.

mod configuration;
mod database;
mod files;
mod machine;
mod report;

use clap::ArgMatches;

use self::report::Report;
use crate::settings::{Settings, SettingsError};

/// Which command the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Up,
    Serve,
    Work,
}

impl Purpose {
    /// What was typed; else what the settings look like.
    fn of(settings: &Settings, matches: &ArgMatches) -> Self {
        match matches.get_one::<String>("for").map(String::as_str) {
            Some("up") => Self::Up,
            Some("work") => Self::Work,
            Some(_) => Self::Serve,
            None if settings.database.url.is_some() => Self::Serve,
            None => Self::Up,
        }
    }

    const fn command(self) -> &'static str {
        match self {
            Self::Up => "freehold up",
            Self::Serve => "freehold serve",
            Self::Work => "freehold work",
        }
    }
}

/// Looks at everything.
///
/// # Errors
/// When a check has failed; the report has been printed by then.
pub(crate) async fn doctor(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<()> {
    let purpose = Purpose::of(settings, matches);
    let mut report = Report::hiding(configuration::secrets(settings));
    report.ok("settings", &format!("can be read; they are judged as for `{}`", purpose.command()));
    configuration::check(&mut report, settings, purpose);
    files::check(&mut report, settings, purpose);
    machine::check(&mut report, settings, purpose).await;
    Box::pin(database::check(&mut report, settings, purpose)).await;
    report.end(matches.get_flag("json"))
}

/// The report when there are no settings to judge anything by.
///
/// # Errors
/// Always, once it has been printed.
pub(crate) fn bad_settings(error: &SettingsError, matches: &ArgMatches) -> anyhow::Result<()> {
    let mut report = Report::hiding(Vec::new());
    report.fail("settings", &error.to_string(), "Mend this and ask again: the rest depends on it.");
    report.end(matches.get_flag("json"))
}
