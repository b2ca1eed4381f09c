//! The database: whether one gets in, as whom, and whether what is there may be served from.

use std::time::Duration;

use freehold_egress::{Egress, Options};
use freehold_embedded_postgres::{OLDEST_MAJOR, Running};
use freehold_kernel::{Config, Duties, Found, Pooler, Survey, survey};

use super::Purpose;
use super::report::Report;
use crate::commands::database::{NAME, logins};
use crate::commands::folder::Folder;
use crate::modules;
use crate::settings::{Logins, Settings};

/// Tokens and leases bear seconds.
const APART_WARN: Duration = Duration::from_secs(1);
/// Clocks that are further apart do not agree on what has expired.
const APART_FAIL: Duration = Duration::from_secs(5);

pub(super) async fn check(report: &mut Report, settings: &Settings, purpose: Purpose) {
    let Some(logins) = reach(report, settings, purpose) else { return };
    let kept = || Folder::existing(&settings.data_dir).kept_secret_key().ok().flatten();
    let key = settings.secret_key.clone().or_else(kept).unwrap_or_default();
    let config = settings.kernel_config(Duties::Requests, logins, key, settings.listen.port());
    let egress = match Egress::new(Options::default()) {
        Ok(egress) => egress,
        Err(error) => {
            return report.fail(
                "network",
                &error.to_string(),
                "Restart, and report this if it stays.",
            );
        }
    };
    let Survey { app, system, direct, found } =
        survey(&config, &modules(Default::default(), egress)).await;
    let is_private = settings.database.url.is_none();
    for (check, variable, role, outcome) in [
        ("database", "DATABASE_URL", "freehold_app", app),
        ("database-system", "DATABASE_SYSTEM_URL", "freehold_system", system),
    ] {
        match outcome {
            Ok(()) if is_private => report.ok(check, &format!("lets {role} in")),
            Ok(()) => report.ok(check, &format!("lets us in by {variable}")),
            Err(error) if is_private => report.fail(
                check,
                &format!("the private PostgreSQL does not let {role} in: {error}"),
                "Ask as the user that runs `freehold up`; if it is that one, stop and start it.",
            ),
            Err(error) => report.fail(
                check,
                &format!("the login of {variable} fails: {error}"),
                &mend(&error, variable, role),
            ),
        }
    }
    match found {
        Some(Ok(found)) => {
            what_it_is(report, &config, &found);
            pooler(report, &config, found.shares_sessions, direct);
            what_is_in_it(report, &found);
        }
        Some(Err(error)) => report.fail(
            "database-answers",
            &format!("one can log in, and then it fails: {error}"),
            "Look into PostgreSQL's log.",
        ),
        None => {}
    }
}

/// Where the database is. What is wrong with a database that nobody has named was said before.
fn reach(report: &mut Report, settings: &Settings, purpose: Purpose) -> Option<Logins> {
    if let Some(url) = &settings.database.url {
        return match logins(&settings.database, url) {
            Ok(logins) => Some(logins),
            Err(error) => {
                report.fail("database", &error.to_string(), "Write the URL in this form.");
                None
            }
        };
    }
    if purpose != Purpose::Up {
        return None;
    }
    if let Some(running) = Running::find(&settings.data_dir) {
        let login = |role| running.url(role, NAME);
        return Some(Logins { app: login("freehold_app"), system: login("freehold_system") });
    }
    if settings.data_dir.join("instance.json").exists() {
        report.warn(
            "database",
            "the private PostgreSQL does not run, so nothing in it was looked at",
            "Type `freehold up`, and `freehold doctor` beside it.",
        );
    } else {
        report.ok("database", "the first `freehold up` makes a private PostgreSQL");
    }
    None
}

/// What to do about a login that fails.
fn mend(error: &sqlx::Error, variable: &str, role: &str) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match (error, code.as_deref()) {
        (_, Some("28P01")) => format!(
            "Correct the password in {variable}, or set it as an administrator: alter role {role} \
             password '…'."
        ),
        (_, Some("28000")) => format!(
            "If the role is missing, set DATABASE_OWNER_URL and type `freehold migrate`, which makes \
             it; otherwise let {role} in by PostgreSQL's pg_hba.conf."
        ),
        (_, Some("3D000")) => format!(
            "Correct the name at the end of {variable}, or make the database: create database …"
        ),
        (_, Some("53300")) => {
            "Raise PostgreSQL's max_connections, or lower FREEHOLD_POOL_SIZE.".to_owned()
        }
        (sqlx::Error::Io(_), _) => format!(
            "See whether PostgreSQL runs, and whether host and port of {variable} are its own and \
             reachable from here."
        ),
        (sqlx::Error::Tls(_), _) => {
            format!("See to the server's certificate, or to sslmode and sslrootcert in {variable}.")
        }
        _ => format!("{variable} should look like postgres://{role}:PASSWORD@HOST:5432/freehold."),
    }
}

/// PostgreSQL itself.
fn what_it_is(report: &mut Report, config: &Config, found: &Found) {
    let (major, minor) = (found.version / 10_000, found.version % 10_000);
    if i64::from(major) < i64::from(OLDEST_MAJOR) {
        report.fail(
            "postgresql",
            &format!(
                "this is PostgreSQL {major}.{minor}, and {OLDEST_MAJOR} is the oldest that will do"
            ),
            "Upgrade it.",
        );
    } else {
        report.ok("postgresql", &format!("version {major}.{minor}"));
    }
    let (most, wanted) = (found.connections, found.wanted);
    let counted = format!("this node takes up to {wanted} of the {most} that PostgreSQL gives us");
    let mend = "Lower FREEHOLD_POOL_SIZE, or raise PostgreSQL's max_connections (or the limit of \
                the role or the database).";
    if config.pooler == Pooler::Transaction {
        report.ok("connections", "a pooler keeps them");
    } else if wanted > most {
        report.fail("connections", &counted, mend);
    } else if wanted * 2 > most {
        report.warn("connections", &format!("{counted}: there is no room for a second node"), mend);
    } else {
        report.ok("connections", &counted);
    }
    let apart = found.clocks_apart;
    let found = format!("this clock and the database's are {:.1} s apart", apart.as_secs_f32());
    let mend = "Let both computers keep time by NTP.";
    match apart {
        apart if apart > APART_FAIL => report.fail("clock", &found, mend),
        apart if apart > APART_WARN => report.warn("clock", &found, mend),
        _ => report.ok("clock", &found),
    }
}

/// Whether what stands between is what the settings say.
fn pooler(
    report: &mut Report,
    config: &Config,
    shares: bool,
    direct: Option<Result<bool, sqlx::Error>>,
) {
    match (config.pooler, shares) {
        (Pooler::None, false) => report.ok("pooler", "none"),
        (Pooler::None, true) => report.fail(
            "pooler",
            "a pooler in transaction mode stands before DATABASE_URL, and DATABASE_POOLER is `none`: \
             statements would fail now and then",
            "Set DATABASE_POOLER=transaction, and DATABASE_DIRECT_URL past the pooler.",
        ),
        (Pooler::Transaction, false) => report.warn(
            "pooler",
            "DATABASE_POOLER is `transaction`, and connections have sessions of their own: every \
             statement is planned anew for nothing",
            "Set DATABASE_POOLER=none if no pooler stands between.",
        ),
        (Pooler::Transaction, true) => report.ok("pooler", "in transaction mode, as it was said"),
    }
    match direct {
        None if config.pooler == Pooler::Transaction => report.warn(
            "direct-url",
            "DATABASE_DIRECT_URL is not set: other nodes' work is heard of within a second, not at \
             once",
            "Set it to the database past the pooler, as freehold_system.",
        ),
        None => {}
        Some(Ok(true)) => report.ok("direct-url", "answers, with a session of its own"),
        Some(Ok(false)) => report.fail(
            "direct-url",
            "DATABASE_DIRECT_URL leads through the pooler, too, and hears nothing there",
            "Name the host and the port of PostgreSQL itself.",
        ),
        Some(Err(error)) => report.fail(
            "direct-url",
            &format!("the login of DATABASE_DIRECT_URL fails: {error}"),
            &mend(&error, "DATABASE_DIRECT_URL", "freehold_system"),
        ),
    }
}

/// Roles, schema, isolation and keys.
fn what_is_in_it(report: &mut Report, found: &Found) {
    let findings = |all: &[freehold_kernel::Finding]| {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    if found.logins.is_empty() {
        report.ok("roles", "neither login can pass row-level security by");
    } else {
        report.fail("roles", &findings(&found.logins), "Change the two URLs accordingly.");
    }
    if let Some(fault) = &found.schema {
        return report.fail("schema", &fault.to_string(), "The rest was not looked at.");
    }
    report.ok("schema", "fits this program");
    if found.tables.is_empty() {
        report.ok("row-level-security", "holds on every table");
    } else {
        report.fail(
            "row-level-security",
            &findings(&found.tables),
            "Somebody has changed the schema by hand: take that back, or restore a backup.",
        );
    }
    match &found.unknown_keys {
        None => report.ok("sealed-data", "every secret key in use was given"),
        Some(unknown) => {
            report.fail("sealed-data", &unknown.to_string(), "Then restart every node.");
        }
    }
}
