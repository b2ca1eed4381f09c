//! Files with secrets in them, and whether others may read them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Purpose;
use super::report::Report;
use crate::commands::credentials;
use crate::commands::folder::{Folder, SECRET_KEY};
use crate::settings::Settings;

pub(super) fn check(report: &mut Report, settings: &Settings, purpose: Purpose) {
    let file = Path::new("freehold.toml");
    if std::fs::read_to_string(file).is_ok_and(|text| holds_secrets(&text)) {
        private(report, "freehold.toml", file);
    }
    if purpose != Purpose::Up {
        return;
    }
    for (check, name) in [("secret-key-file", SECRET_KEY), ("credentials", credentials::NAME)] {
        let path = settings.data_dir.join(name);
        if path.exists() {
            private(report, check, &path);
        }
    }
    if settings.secret_key.is_none() {
        secret_key(report, settings);
    }
}

/// The key that `up` has made, or will make.
fn secret_key(report: &mut Report, settings: &Settings) {
    let folder = Folder::existing(&settings.data_dir);
    let path = folder.path(SECRET_KEY);
    match folder.kept_secret_key() {
        Ok(Some(_)) => {
            report.ok("secret-key", &format!("kept in {}; keep a copy elsewhere", path.display()));
        }
        Ok(None) if settings.data_dir.join("instance.json").exists() => report.fail(
            "secret-key",
            &format!("{} is missing, and the database is sealed with it", path.display()),
            "Restore the file from a backup, or set FREEHOLD_SECRET_KEY to what was in it.",
        ),
        Ok(None) => report.ok("secret-key", "the first start makes it"),
        Err(error) => report.fail(
            "secret-key",
            &error.to_string(),
            "Restore it from a backup, or run as the user that it belongs to.",
        ),
    }
}

/// Nobody but its owner may read it.
fn private(report: &mut Report, check: &'static str, path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        report.ok(check, &format!("only its owner may read {}", path.display()));
        return;
    }
    report.fail(
        check,
        &format!("{} holds secrets, and others may read it (mode {mode:o})", path.display()),
        &format!("chmod 600 {}", path.display()),
    );
}

fn holds_secrets(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.any(|line| line.contains("secret_key") || line.contains("postgres"))
}
