//! This computer: its sockets, files, disk, and what PostgreSQL's own folder has left on it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use freehold_embedded_postgres::{find_binaries, orphans};
use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::Purpose;
use super::report::Report;
use crate::commands::{address, loopback};
use crate::settings::{Metrics, Settings};

/// Each connection is a file, and some are always open.
const FILES_ENOUGH: u64 = 4096;
/// With less, a burst of writes may fill the disk before anybody has looked.
const DISK_ENOUGH: u64 = 2 << 30;
/// PostgreSQL stops when it cannot write its log.
const DISK_LEAST: u64 = 256 << 20;
/// Of what was left behind; a line can be too long.
const ORPHANS_SHOWN: usize = 3;

pub(super) async fn check(report: &mut Report, settings: &Settings, purpose: Purpose) {
    if purpose != Purpose::Work {
        listen(report, settings.listen).await;
    }
    if let Metrics::At(address) = settings.metrics {
        metrics(report, address).await;
    }
    files(report);
    if purpose == Purpose::Up {
        disk(report, &settings.data_dir);
    }
    if purpose == Purpose::Up && settings.database.url.is_none() {
        match find_binaries(settings.postgres_bin.as_deref()) {
            Ok(found) => report.ok(
                "postgresql-programs",
                &format!("PostgreSQL {} in {}", found.version(), found.dir().display()),
            ),
            Err(error) => report.fail(
                "postgresql-programs",
                &error.to_string(),
                "Install PostgreSQL 15 or newer, or name its folder in FREEHOLD_POSTGRES_BIN.",
            ),
        }
    }
    left_behind(report);
}

async fn listen(report: &mut Report, address: SocketAddr) {
    match TcpListener::bind(address) {
        Ok(_) => report.ok("listen", &format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_freehold(address).await => {
            report.ok("listen", &format!("a Freehold answers on {address}"));
        }
        Err(error) => report.fail(
            "listen",
            &address::refusal(address, &error).to_string(),
            "Set --listen, FREEHOLD_LISTEN or PORT.",
        ),
    }
}

async fn is_freehold(address: SocketAddr) -> bool {
    loopback::get(address, "/health/live")
        .await
        .is_ok_and(|(status, body)| status.is_success() && body.as_ref() == br#"{"status":"ok"}"#)
}

async fn metrics(report: &mut Report, address: SocketAddr) {
    let is_ours = async || {
        let answer = loopback::get(address, "/metrics").await;
        answer.is_ok_and(|(_, body)| body.windows(8).any(|word| word == b"freehold"))
    };
    match TcpListener::bind(address) {
        Ok(_) => report.ok("metrics-address", &format!("{address} is free")),
        Err(_) if is_ours().await => {
            report.ok("metrics-address", &format!("a Freehold answers on {address}"));
        }
        Err(error) => report.fail(
            "metrics-address",
            &format!("metrics cannot be served at {address}: {error}"),
            "Set FREEHOLD_METRICS to another address, to port 0 for a free one, or to `off`.",
        ),
    }
}

fn files(report: &mut Report) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit >= FILES_ENOUGH {
        report.ok("open-files", &format!("{} at once", number(limit)));
        return;
    }
    report.warn(
        "open-files",
        &format!("this process may have {limit} files open at once, and each connection is one"),
        "Raise it with `ulimit -n 65536`, or LimitNOFILE=65536 in a systemd unit.",
    );
}

fn disk(report: &mut Report, folder: &Path) {
    let Some(there) = folder.ancestors().find(|above| above.exists()) else {
        // A relative path begins in the folder where we are.
        return disk(report, Path::new("."));
    };
    match statvfs(there) {
        Ok(disk) => judge_disk(report, folder, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => report.warn(
            "disk",
            &format!("how much is free in {} cannot be told: {error}", folder.display()),
            "Look at it with `df -h`.",
        ),
    }
}

fn judge_disk(report: &mut Report, folder: &Path, free: u64) {
    let found = format!("{} MB free in {}", number(free >> 20), folder.display());
    let mend = "Free some, or move the folder: without space PostgreSQL stops.";
    match free {
        ..DISK_LEAST => report.fail("disk", &found, mend),
        DISK_LEAST..DISK_ENOUGH => report.warn("disk", &found, mend),
        _ => report.ok("disk", &found),
    }
}

/// Databases in the system's folder whose own folder has gone.
fn left_behind(report: &mut Report) {
    let found = orphans();
    if found.is_empty() {
        return;
    }
    let each = |orphan: &freehold_embedded_postgres::Orphan| {
        format!("{} (was {}'s)", orphan.home.display(), orphan.owner.display())
    };
    let mut homes: Vec<String> = found.iter().take(ORPHANS_SHOWN).map(each).collect();
    if found.len() > ORPHANS_SHOWN {
        homes.push(format!("{} more in the same place", found.len() - ORPHANS_SHOWN));
    }
    report.warn(
        "orphans",
        &format!("databases whose folders are gone: {}", homes.join(", ")),
        "If nobody misses what was in them, remove these folders; there is no way back.",
    );
}

fn number(number: u64) -> String {
    if number == u64::MAX { "any number".to_owned() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_said_before_it_is_full() {
        for (free, expected) in
            [(10 << 30, "ok"), (1 << 30, "warn"), (100 << 20, "fail"), (0, "fail")]
        {
            let mut report = Report::hiding(Vec::new());
            judge_disk(&mut report, Path::new("data"), free);
            assert_eq!(report.statuses(), [expected], "{free}");
        }
    }
}
