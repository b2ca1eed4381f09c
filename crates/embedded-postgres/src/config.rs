//! The server's configuration: `postgresql.conf`, `pg_hba.conf` and `pg_ident.conf`.
//!
//! The files lie next to the cluster and not in it. As root we do not write where the server's
//! user may have put a link, and the server cannot change who is let in.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;
use crate::home::Home;
use crate::socket::PORT;
use crate::{Options, SUPERUSER};

/// For a small machine: a second process beside Freehold, not a database server of its own.
const SETTINGS: [(&str, &str); 11] = [
    ("listen_addresses", ""),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("wal_compression", "on"),
    ("max_wal_size", "1GB"),
    ("min_wal_size", "80MB"),
    ("jit", "off"),
    ("password_encryption", "scram-sha-256"),
    ("logging_collector", "off"),
    ("log_min_messages", "warning"),
    ("log_line_prefix", "%m [%p] "),
];

/// What makes tests fast, and loses data when the power goes.
const NOT_DURABLE: [(&str, &str); 6] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("min_wal_size", "32MB"),
];

/// Writes the configuration of a home. Says whether it differs from what was there.
pub(crate) fn write(home: &Home, options: &Options, socket_dir: &Path) -> Result<bool, Error> {
    let dir = dir(home);
    files::make_dir(&dir, 0o755)?;
    let mut changed = false;
    for (name, content) in [
        ("postgresql.conf", postgresql_conf(&dir, &home.cluster, options, socket_dir)?),
        ("pg_hba.conf", PG_HBA.to_string()),
        ("pg_ident.conf", pg_ident(home, &options.roles)?),
    ] {
        changed |= files::replace_if_changed(&dir.join(name), content.as_bytes(), 0o644)?;
    }
    Ok(changed)
}

/// The file that names all others.
pub(crate) fn file(home: &Home) -> PathBuf {
    dir(home).join("postgresql.conf")
}

fn dir(home: &Home) -> PathBuf {
    home.path.join("config")
}

const PG_HBA: &str = "\
# Written by Freehold at every start. Only the Unix socket, only the users in pg_ident.conf.
local all all peer map=freehold
local replication all peer map=freehold
";

fn postgresql_conf(
    dir: &Path,
    cluster: &Path,
    options: &Options,
    socket_dir: &Path,
) -> Result<String, Error> {
    let mut text = String::from("# Written by Freehold at every start; changes are lost.\n");
    // initdb's own file knows the time zone and the locale; ALTER SYSTEM still has its say.
    let mut line = |name: &str, value: &str| -> Result<(), Error> {
        let _ = writeln!(text, "{name} = {}", quote(name, value)?);
        Ok(())
    };
    line("include", path("include", &cluster.join("postgresql.conf"))?)?;
    let not_durable = if options.durable { &[] } else { NOT_DURABLE.as_slice() };
    for (name, value) in SETTINGS.iter().chain(not_durable) {
        line(name, value)?;
    }
    for (name, value) in &options.settings {
        check_name(name)?;
        line(name, value)?;
    }
    // These stay ours: without them nobody could connect. The folders of sockets are a list, so
    // that ours is put in quotes of its own.
    let sockets = path("unix_socket_directories", socket_dir)?.replace('"', "\"\"");
    line("unix_socket_directories", &format!("\"{sockets}\""))?;
    line("unix_socket_permissions", "0700")?;
    line("port", &PORT.to_string())?;
    line("hba_file", path("hba_file", &dir.join("pg_hba.conf"))?)?;
    line("ident_file", path("ident_file", &dir.join("pg_ident.conf"))?)?;
    Ok(text)
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(());
    }
    let reason = "names have letters, digits, `_` and `.` only";
    Err(Error::Configuration { what: "the setting", name: name.to_string(), reason })
}

fn quote(name: &str, value: &str) -> Result<String, Error> {
    if value.contains(['\n', '\r', '\0']) {
        let reason = "its value has more than one line";
        return Err(Error::Configuration { what: "the setting", name: name.to_string(), reason });
    }
    Ok(format!("'{}'", value.replace('\\', r"\\").replace('\'', "''")))
}

fn path<'a>(name: &str, path: &'a Path) -> Result<&'a str, Error> {
    path.to_str().ok_or_else(|| {
        let reason = "the path is not UTF-8";
        Error::Configuration { what: "the setting", name: name.to_string(), reason }
    })
}

/// Lets each operating-system user in as each role. PostgreSQL 15 knows no `all` here, so that
/// every pair is a line.
fn pg_ident(home: &Home, roles: &[String]) -> Result<String, Error> {
    let mut users = vec!["root", &home.server_user.name, &home.current.name];
    let mut roles: Vec<&str> =
        std::iter::once(SUPERUSER).chain(roles.iter().map(String::as_str)).collect();
    for names in [&mut users, &mut roles] {
        names.sort_unstable();
        names.dedup();
    }
    let mut text = String::from("# Written by Freehold at every start; changes are lost.\n");
    for user in &users {
        for role in &roles {
            let _ = writeln!(text, "freehold {} {}", word(user)?, word(role)?);
        }
    }
    Ok(text)
}

fn word(name: &str) -> Result<String, Error> {
    // A slash in front would make a pattern of it.
    if name.is_empty() || name.starts_with('/') || name.contains(char::is_control) {
        let reason = "it is empty, begins with a slash or has a control character";
        return Err(Error::Configuration { what: "the role", name: name.to_string(), reason });
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}
