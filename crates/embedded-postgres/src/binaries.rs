//! Finding PostgreSQL's programs on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// The oldest major version of PostgreSQL that Freehold runs on.
pub const OLDEST_MAJOR: u32 = 15;

/// Where packages put PostgreSQL; a `*` stands for any run of characters.
const USUAL_PLACES: [&str; 9] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/opt/postgresql/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// One installation of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
    version: String,
}

impl Binaries {
    /// The folder the programs are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The major version, such as `17`.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The whole version, such as `17.2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of one program, such as `psql` or `pg_dump`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Looks into one folder, or the `bin` below it.
    fn in_dir(dir: &Path) -> Option<Binaries> {
        // Links are followed first: /usr/local/bin/postgres may lead to the real folder.
        let real = |dir: &Path| fs::canonicalize(dir.join("postgres")).ok();
        let postgres = real(dir).or_else(|| real(&dir.join("bin")))?;
        let dir = postgres.parent()?.to_path_buf();
        if !dir.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(&postgres).arg("--version").output().ok()?;
        let (major, version) = parse_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Binaries { dir, major, version })
    }
}

/// Finds PostgreSQL's programs, version 15 or newer.
///
/// A folder that somebody named, as `hint` or in `$FREEHOLD_POSTGRES_BIN`, is taken at its word:
/// it is used, or it is an error. Otherwise the newest wins among `$PATH`, `pg_config --bindir`
/// and the places where packages put them.
pub fn find_binaries(hint: Option<&Path>) -> Result<Binaries, Error> {
    if let Some(dir) = named(hint) {
        return (Binaries::in_dir(&dir).filter(|found| found.major >= OLDEST_MAJOR))
            .ok_or(Error::BadBinaries { dir, oldest: OLDEST_MAJOR });
    }
    let installed = installed();
    match installed.iter().find(|found| found.major >= OLDEST_MAJOR) {
        Some(newest) => Ok(newest.clone()),
        None => Err(Error::NoBinaries {
            oldest: OLDEST_MAJOR,
            found: match installed.first() {
                Some(old) => format!("only {} is installed, in {}", old.version, old.dir.display()),
                None => "none is installed".to_string(),
            },
            install: install_line(None),
        }),
    }
}

/// Finds the programs for an existing cluster, which only its own major version can open.
pub(crate) fn find_matching(
    hint: Option<&Path>,
    cluster: &Path,
    cluster_major: u32,
) -> Result<Binaries, Error> {
    let named = named(hint).and_then(|dir| Binaries::in_dir(&dir));
    let all: Vec<Binaries> = named.into_iter().chain(installed()).collect();
    let matching =
        all.iter().find(|found| found.major == cluster_major && cluster_major >= OLDEST_MAJOR);
    if let Some(matching) = matching {
        return Ok(matching.clone());
    }
    // Nothing installed at all, or a wrong folder named, is the more helpful thing to say.
    find_binaries(hint)?;
    let mut versions: Vec<&str> = all.iter().map(Binaries::version).collect();
    versions.dedup();
    Err(Error::OtherMajor {
        cluster: cluster.to_path_buf(),
        cluster_major,
        installed: versions.join(", "),
        install: install_line(Some(cluster_major)),
    })
}

fn named(hint: Option<&Path>) -> Option<PathBuf> {
    let from_env = || env::var_os("FREEHOLD_POSTGRES_BIN").filter(|value| !value.is_empty());
    hint.map(Path::to_path_buf).or_else(|| from_env().map(PathBuf::from))
}

/// Every PostgreSQL on this machine, newest first.
fn installed() -> Vec<Binaries> {
    let mut dirs: Vec<PathBuf> = USUAL_PLACES.iter().flat_map(|place| expand(place)).collect();
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    // Many paths lead to the same folder; each is asked for its version once.
    let mut real: Vec<PathBuf> = (dirs.iter())
        .filter_map(|dir| fs::canonicalize(dir.join("postgres")).ok())
        .filter_map(|postgres| postgres.parent().map(Path::to_path_buf))
        .collect();
    real.sort();
    real.dedup();
    let mut found: Vec<Binaries> = real.iter().filter_map(|dir| Binaries::in_dir(dir)).collect();
    found.sort_by_key(|found| std::cmp::Reverse(version_numbers(&found.version)));
    found
}

/// The folders that match a pattern, in which one component may hold a `*`.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some(star) = pattern.find('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let starts = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(prefix));
    (entries.flatten())
        .filter(|entry| starts(&entry.file_name()))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect()
}

/// Understands `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, and `18beta1` as well.
fn parse_version(output: &str) -> Option<(u32, String)> {
    let (_, rest) = output.split_once("(PostgreSQL)")?;
    let version = rest.split_whitespace().next()?;
    let major = version_numbers(version).first().copied()?;
    Some((major, version.to_string()))
}

fn version_numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The line that installs PostgreSQL on this system.
fn install_line(major: Option<u32>) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_line_for(env::consts::OS, &release, major)
}

fn install_line_for(os: &str, release: &str, major: Option<u32>) -> String {
    let newest = major.map_or_else(|| "17".to_string(), |major| major.to_string());
    let suffix = |dash: &str| major.map(|major| format!("{dash}{major}")).unwrap_or_default();
    let family = (release.lines())
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .find_map(|id| match id {
            "debian" | "ubuntu" => Some(format!("apt-get install postgresql{}", suffix("-"))),
            "fedora" | "rhel" | "centos" => {
                Some(format!("dnf install postgresql{}-server", suffix("")))
            }
            "alpine" => Some(format!("apk add postgresql{newest}")),
            "arch" => Some("pacman -S postgresql".to_string()),
            "suse" | "opensuse" => Some(format!("zypper install postgresql{newest}-server")),
            _ => None,
        });
    match family {
        _ if os == "macos" => format!("brew install postgresql@{newest}"),
        Some(line) => format!("sudo {line}    # not there? https://www.postgresql.org/download/"),
        None => "see https://www.postgresql.org/download/".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{install_line_for, parse_version, version_numbers};

    #[test]
    fn versions_of_all_kinds_are_understood() {
        let debian = parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n");
        assert_eq!(debian, Some((15, "15.18".into())));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1"), Some((19, "19beta1".into())));
        assert_eq!(parse_version("initdb: not found"), None);
        assert!(version_numbers("15.18") > version_numbers("15.9"));
    }

    #[test]
    fn the_install_line_fits_the_system() {
        let ubuntu = "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n";
        let line = install_line_for("linux", ubuntu, Some(16));
        assert!(line.starts_with("sudo apt-get install postgresql-16 "), "{line}");
        assert_eq!(install_line_for("macos", "", None), "brew install postgresql@17");
        let alma = "ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n";
        assert!(install_line_for("linux", alma, None).contains("dnf install postgresql-server"));
    }
}
