//! Passwords: what is good enough, and hashing that cannot starve the process.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use freehold_kernel::{Error, Result};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;
use zxcvbn::Score;

/// In code points after NFKC.
const LENGTH_MIN: usize = 12;
const LENGTH_MAX: usize = 256;
/// What must remain of a password besides facts about its owner.
const REST_MIN: usize = 8;
/// How long a hash may wait for its turn.
const QUEUE: Duration = Duration::from_secs(2);

/// Refuses a password that is too short, too plain, too common, or made of what anybody knows
/// about its owner (`known`: e-mail, name, tenant).
///
/// # Errors
/// 422 at `pointer`, naming the rule.
fn check(password: &str, known: &[&str], pointer: &str) -> Result<()> {
    let refuse = |code, detail: &str| Err(Error::invalid(pointer, code, detail));
    let normal: String = password.nfkc().collect();
    let length = normal.chars().count();
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return refuse("identity.password_length", "12 to 256 characters");
    }
    let has = |class: fn(char) -> bool| normal.chars().any(class);
    let special = has(|c| !c.is_alphanumeric());
    if !(has(char::is_lowercase) && has(char::is_uppercase) && has(char::is_numeric) && special) {
        return refuse(
            "identity.password_composition",
            "at least one lower-case letter, one capital, one digit and one other character",
        );
    }
    let parts: Vec<&str> = known
        .iter()
        .flat_map(|fact| fact.split(|c: char| !c.is_alphanumeric()))
        .filter(|part| part.chars().count() >= 3)
        .chain(known.iter().copied())
        .collect();
    if rest_after_removing(&parts, &normal) < REST_MIN {
        return refuse(
            "identity.password_personal",
            "too much of it is your e-mail, your name or your tenant's name",
        );
    }
    if zxcvbn::zxcvbn(&normal, &parts).score() < Score::Three {
        return refuse(
            "identity.password_guessable",
            "too easy to guess: common words, names, dates and repetitions count for little",
        );
    }
    Ok(())
}

/// How many characters remain once everything known about the owner is taken out.
fn rest_after_removing(known: &[&str], password: &str) -> usize {
    let mut rest = password.to_lowercase();
    for part in known.iter().filter(|part| !part.is_empty()) {
        rest = rest.replace(&part.to_lowercase(), "");
    }
    rest.chars().count()
}

/// Hashes and verifies, a few at a time: argon2id, 19 MiB, two passes (OWASP 2024).
pub(crate) struct Hasher {
    permits: Arc<Semaphore>,
    /// Verified when there is no such account, so that both answers take the same time.
    decoy: String,
}

impl Default for Hasher {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash(b"nobody has this password").unwrap_or_default();
        Self { permits: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))), decoy }
    }
}

impl Hasher {
    /// The PHC string of a password.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy` when too many are waiting.
    pub(crate) async fn hash(&self, password: &str) -> Result<String> {
        let password = normal_bytes(password);
        self.run(move || hash(&password)).await?.map_err(Error::internal)
    }

    /// The PHC string of a password that somebody chose, if it is good enough. Judging one takes a
    /// CPU as long as hashing it may, so both wait for the same turn.
    ///
    /// # Errors
    /// 422 at `pointer`, naming the rule; 503 `identity.hashing_busy` when too many are waiting.
    pub(crate) async fn hash_chosen(
        &self,
        password: &str,
        known: Vec<String>,
        pointer: &'static str,
    ) -> Result<String> {
        let password = password.to_owned();
        self.run(move || {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            check(&password, &known, pointer)?;
            hash(&normal_bytes(&password)).map_err(Error::internal)
        })
        .await?
    }

    /// Whether the password is the one behind `phc`; without one, takes as long and says no.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy` when too many are waiting.
    pub(crate) async fn verify(&self, password: &str, phc: Option<String>) -> Result<bool> {
        let password = normal_bytes(password);
        let known = phc.is_some();
        let phc = phc.unwrap_or_else(|| self.decoy.clone());
        let same = self.run(move || {
            let parsed = PasswordHash::new(&phc).ok();
            parsed.is_some_and(|parsed| argon2().verify_password(&password, &parsed).is_ok())
        });
        Ok(same.await? && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = tokio::time::timeout(QUEUE, self.permits.clone().acquire_owned());
        let permit = permit.await.map_err(|_| {
            Error::unavailable("identity.hashing_busy", "Many people are signing in; try again.", 2)
        })?;
        let permit = permit.map_err(Error::internal)?;
        let work = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(permit);
            outcome
        });
        work.await.map_err(Error::internal)
    }
}

fn normal_bytes(password: &str) -> Vec<u8> {
    password.nfkc().collect::<String>().into_bytes()
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Ok(argon2().hash_password(password)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(password: &str) -> &'static str {
        let known = ["ada.lovelace@example.org", "Ada Lovelace", "Analytical Engines"];
        check(password, &known, "/password").err().map_or("", |e| e.fields()[0].code)
    }

    #[test]
    fn each_rule_refuses_what_it_is_for() {
        assert_eq!(refused("Sh0rt!"), "identity.password_length");
        assert_eq!(refused(&"aB3!".repeat(65)), "identity.password_length");
        assert_eq!(refused("alllowercase12!"), "identity.password_composition");
        assert_eq!(refused("NoDigitsAtAll!!"), "identity.password_composition");
        assert_eq!(refused("Password1234!"), "identity.password_guessable");
        assert_eq!(refused("Qwertyuiop1!"), "identity.password_guessable");
        assert_eq!(refused("AdaLovelace1!"), "identity.password_personal");
        assert_eq!(refused("tarn-Kelp7-obverse"), "");
        assert_eq!(refused("Ünïcode-größe7-wörter"), "");
    }
}
