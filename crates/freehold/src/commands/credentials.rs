//! The first people of an installation, and their passwords, in DIR/credentials.json. Written
//! before either exists, so that a first start that is cut short is finished by the next one.

use std::fmt::Write;

use anyhow::anyhow;
use freehold_kernel::crypto;
use serde::{Deserialize, Serialize};

use super::folder::Folder;

/// The file.
pub(in crate::commands) const NAME: &str = "credentials.json";
/// Without letters and digits that look alike, for whoever has to type it.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const GROUPS: usize = 4;
const GROUP_LENGTH: usize = 5;

/// Who was made at the first start.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Credentials {
    /// Runs the installation.
    pub(super) operator: Option<Person>,
    /// Owns the demo tenant.
    pub(super) demo: Option<Person>,
    /// Whether the first start came to its end: both exist, and their owner has seen them.
    pub(super) shown: bool,
}

/// How one of them signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) email: String,
    pub(super) password: String,
}

impl Credentials {
    /// What an earlier start wrote down; at the first one, new people. Somebody who has deleted the
    /// file later gets none.
    pub(super) fn of(folder: &Folder, is_first_start: bool, demo: bool) -> anyhow::Result<Self> {
        if let Some(text) = folder.read(NAME)? {
            return serde_json::from_str(&text).map_err(|error| {
                anyhow!(
                    "{} cannot be understood: {error}. Restore it from a backup, or delete it: it \
                     is only a note of the first passwords.",
                    folder.path(NAME).display()
                )
            });
        }
        if !is_first_start {
            return Ok(Self { shown: true, ..Self::default() });
        }
        let made = Self {
            operator: Some(Person::new("operator@freehold.example")?),
            demo: demo.then(|| Person::new("owner@demo.example")).transpose()?,
            shown: false,
        };
        made.write(folder)?;
        Ok(made)
    }

    /// Writes them down.
    pub(super) fn write(&self, folder: &Folder) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        folder.write(NAME, &format!("{text}\n"))
    }

    /// For the person who has just started it.
    pub(super) fn text(&self, folder: &Folder) -> String {
        let mut text = String::from("Sign in with these; they are shown only once:\n");
        for (role, person) in [("operator", &self.operator), ("demo owner", &self.demo)] {
            if let Some(Person { email, password }) = person {
                let _ = writeln!(text, "  {role:<12}{email:<28}{password}");
            }
        }
        let _ = write!(text, "They are kept in {}.", folder.path(NAME).display());
        text
    }
}

impl Person {
    fn new(email: &str) -> anyhow::Result<Self> {
        Ok(Self { email: email.to_owned(), password: password()? })
    }
}

/// About 115 random bits that hold a small letter, a capital, a digit and a hyphen.
pub(super) fn password() -> anyhow::Result<String> {
    loop {
        let mut letters = Vec::new();
        while letters.len() < GROUPS * GROUP_LENGTH {
            let [byte] = crypto::random::<1>()?;
            // A byte past the end is thrown away: wrapping it around would favour some letters.
            letters.extend(ALPHABET.get(usize::from(byte)).copied().map(char::from));
        }
        let has = |class: fn(&char) -> bool| letters.iter().any(class);
        if has(char::is_ascii_lowercase)
            && has(char::is_ascii_uppercase)
            && has(char::is_ascii_digit)
        {
            let groups = letters.chunks(GROUP_LENGTH).map(String::from_iter);
            return Ok(groups.collect::<Vec<_>>().join("-"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_hold_all_that_is_asked_and_differ() -> anyhow::Result<()> {
        let (one, two) = (password()?, password()?);
        assert_ne!(one, two);
        assert_eq!(one.len(), 23);
        for class in [char::is_lowercase, char::is_uppercase, char::is_numeric] {
            assert!(one.chars().any(class), "{one}");
        }
        Ok(())
    }

    #[test]
    fn the_first_start_writes_and_later_ones_read() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = Folder::make(dir.path())?;
        let made = Credentials::of(&folder, true, false)?;
        assert!(made.operator.is_some() && made.demo.is_none() && !made.shown);
        let read = Credentials::of(&folder, true, true)?;
        assert_eq!(read.operator.map(|p| p.password), made.operator.map(|p| p.password));
        assert!(read.demo.is_none(), "what the first start decided stands");
        std::fs::remove_file(folder.path(NAME))?;
        let later = Credentials::of(&folder, false, true)?;
        assert!(later.operator.is_none() && later.demo.is_none() && later.shown);
        Ok(())
    }
}
