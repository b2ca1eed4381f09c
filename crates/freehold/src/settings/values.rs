//! Flags over environment over `freehold.toml`, as text by key, and the errors of all three.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use config::{Config, ConfigError, File, FileFormat, Source, Value, ValueKind};

use super::table::{SETTINGS, Setting};

/// Where settings come from.
pub struct Sources<'a> {
    /// What was typed, by key.
    pub flags: HashMap<&'static str, String>,
    /// A variable of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The file, which need not exist.
    pub file: &'a Path,
}

/// What is wrong with a setting.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not TOML, or may not be read.
    #[error("{} cannot be read: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file sets something that is not there.
    #[error(
        "{} sets `{key}`, and there is no such setting. Correct the name, or take the line out; \
         docs/operate.md lists every key.",
        path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A value that cannot be.
    #[error("{name} is `{value}`; it must be {must}.")]
    Bad {
        /// The setting, by all its names.
        name: String,
        /// The value.
        value: String,
        /// What would do.
        must: String,
    },
    /// A secret that is no good. Its value is not shown.
    #[error(
        "{name} is too short: it must have at least 32 bytes. Make one with: openssl rand -hex 32"
    )]
    WeakSecret {
        /// The setting, by all its names.
        name: String,
    },
    /// A secret that anybody could guess. Its value is not shown.
    #[error(
        "{name} is one that anybody could guess: an example, or one piece over and over. Make one \
         with: openssl rand -hex 32"
    )]
    KnownSecret {
        /// The setting, by all its names.
        name: String,
    },
}

/// All values that are set, by key.
pub(super) struct Values(Config);

impl Values {
    pub(super) fn read(sources: &Sources<'_>) -> Result<Self, SettingsError> {
        let broken = |error: ConfigError| SettingsError::File {
            path: sources.file.to_path_buf(),
            reason: without_quotation(&error.to_string()),
        };
        let file = File::from(sources.file).format(FileFormat::Toml).required(false);
        let mut builder = Config::builder().add_source(file);
        for (key, setting) in keyed() {
            let typed = sources.flags.get(key).cloned();
            let value = typed.or_else(|| (sources.environment)(setting.variable));
            // An empty variable is one that a compose file passes on without having it.
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                builder = builder.set_override(key, value).map_err(broken)?;
            }
        }
        let config = builder.build().map_err(broken)?;
        let keys = config.collect().map_err(broken)?;
        if let Some(key) = unknown("", &keys) {
            return Err(SettingsError::UnknownKey { path: sources.file.to_path_buf(), key });
        }
        Ok(Self(config))
    }

    /// The text of a setting, if anybody has set it.
    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>, SettingsError> {
        match self.0.get_string(key) {
            Ok(text) => Ok(Some(text)),
            Err(ConfigError::NotFound(_)) => Ok(None),
            Err(_) => Err(bad(key, "a list or a section", "one value")),
        }
    }

    /// A setting that is read by `FromStr`; `must` says what it has to be.
    pub(super) fn parsed<T: FromStr>(
        &self,
        key: &'static str,
        must: &str,
    ) -> Result<Option<T>, SettingsError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| bad(key, text, must))
    }

    /// A list: an array in the file, or words with commas between them.
    pub(super) fn words(&self, key: &'static str) -> Result<Vec<String>, SettingsError> {
        if let Ok(items) = self.0.get_array(key) {
            let texts = items.into_iter().map(Value::into_string);
            return texts
                .collect::<Result<_, _>>()
                .map_err(|_| bad(key, "a list of other things", "a list of texts"));
        }
        let text = self.text(key)?.unwrap_or_default();
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Ok(words.map(str::to_owned).collect())
    }
}

/// The settings that have a key.
fn keyed() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    SETTINGS.iter().filter_map(|setting| Some((setting.key?, setting)))
}

/// A setting by every name that the reader may have used.
pub(super) fn name_of(key: &str) -> String {
    let setting = SETTINGS.iter().find(|setting| setting.key == Some(key));
    let flag = setting.and_then(|setting| setting.flag.as_ref());
    let variable = setting.map_or(key, |setting| setting.variable);
    match flag {
        Some(flag) => format!("--{} ({variable}, `{key}` in freehold.toml)", flag.name),
        None => format!("{variable} (`{key}` in freehold.toml)"),
    }
}

pub(super) fn bad(key: &str, value: impl Display, must: &str) -> SettingsError {
    let value = without_login(&value.to_string());
    SettingsError::Bad { name: name_of(key), value, must: must.to_owned() }
}

/// A complaint about TOML without the line that it quotes: that may be the line of a secret.
fn without_quotation(complaint: &str) -> String {
    let is_quoted = |line: &&str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
    };
    complaint.lines().filter(|line| !is_quoted(line)).collect::<Vec<_>>().join("; ")
}

/// A value that may be a URL, without the name and the password in it.
fn without_login(value: &str) -> String {
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => value.to_owned(),
    }
}

/// The first key that no setting has.
fn unknown(section: &str, keys: &config::Map<String, Value>) -> Option<String> {
    let mut names: Vec<_> = keys.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    names.into_iter().find_map(|(name, value)| {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match &value.kind {
            _ if keyed().any(|(known, _)| known == key) => None,
            ValueKind::Table(inner) if !inner.is_empty() => unknown(&key, inner),
            _ => Some(key),
        }
    })
}
