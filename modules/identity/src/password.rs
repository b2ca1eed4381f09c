//! Passwords: what is good enough, and hashing that cannot starve the process.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use freehold_kernel::crypto::random;
use freehold_kernel::{Error, Result};
use unicode_normalization::UnicodeNormalization;
use zxcvbn::Score;

use crate::turns::{Caller, Turns};

/// In code points after NFKC.
const LENGTH_MIN: usize = 12;
const LENGTH_MAX: usize = 256;
/// What must remain of a password besides facts about its owner.
const REST_MIN: usize = 8;
/// Of a hash, in bytes.
const HASH_LENGTH: usize = 32;

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
    turns: Turns,
    /// One scratch area per place, used again and again: 19 MiB that are allocated and freed on
    /// whatever thread is at hand would stay with each of those threads.
    scratch: Scratch,
    /// Verified when there is no such account, so that both answers take the same time.
    decoy: String,
}

impl Default for Hasher {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut blocks = Vec::new();
        let decoy = hash(b"nobody has this password", &mut blocks).unwrap_or_default();
        let scratch = Scratch::new(Mutex::new(vec![blocks]));
        Self { turns: Turns::new(cores.saturating_sub(1).max(1)), scratch, decoy }
    }
}

impl Hasher {
    /// Refuses a stranger while so many wait that they would wait in vain.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy`.
    pub(crate) fn check_room(&self) -> Result<()> {
        self.turns.check_room()
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy` when too many are waiting.
    pub(crate) async fn hash(&self, password: &str) -> Result<String> {
        let password = normal_bytes(password);
        self.run(Caller::Known, move |blocks| hash(&password, blocks)).await?
    }

    /// The PHC string of a password that somebody chose, if it is good enough. Judging one takes a
    /// CPU as long as hashing it may, so both wait for the same turn.
    ///
    /// # Errors
    /// 422 at `pointer`, naming the rule; 503 `identity.hashing_busy` when too many are waiting.
    pub(crate) async fn hash_chosen(
        &self,
        caller: Caller,
        password: &str,
        known: Vec<String>,
        pointer: &'static str,
    ) -> Result<String> {
        let password = password.to_owned();
        self.run(caller, move |blocks| {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            check(&password, &known, pointer)?;
            hash(&normal_bytes(&password), blocks)
        })
        .await?
    }

    /// Whether the password is the one behind `phc`; without one, takes as long and says no.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy` when too many are waiting.
    pub(crate) async fn verify(
        &self,
        caller: Caller,
        password: &str,
        phc: Option<String>,
    ) -> Result<bool> {
        let password = normal_bytes(password);
        let known = phc.is_some();
        let phc = phc.unwrap_or_else(|| self.decoy.clone());
        let same = self.run(caller, move |blocks| is_behind(&phc, &password, blocks));
        Ok(same.await? && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        caller: Caller,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T> {
        let turn = self.turns.take(caller).await?;
        let scratch = self.scratch.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut blocks = areas(&scratch).pop().unwrap_or_default();
            let outcome = work(&mut blocks);
            areas(&scratch).push(blocks);
            drop(turn);
            outcome
        });
        work.await.map_err(Error::internal)
    }
}

/// Whether two spellings are one password.
pub(crate) fn are_same(one: &str, other: &str) -> bool {
    normal_bytes(one) == normal_bytes(other)
}

fn normal_bytes(password: &str) -> Vec<u8> {
    password.nfkc().collect::<String>().into_bytes()
}

type Scratch = Arc<Mutex<Vec<Vec<Block>>>>;

fn areas(scratch: &Scratch) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
    scratch.lock().unwrap_or_else(PoisonError::into_inner)
}

fn params() -> Params {
    Params::new(19_456, 2, 1, Some(HASH_LENGTH)).unwrap_or_default()
}

/// The PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
fn hash(password: &[u8], blocks: &mut Vec<Block>) -> Result<String> {
    let (salt, params) = (random::<16>()?, params());
    let hash = fill(password, &salt, &params, blocks).map_err(Error::internal)?;
    Ok(format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash)
    ))
}

/// Whether a password gives the hash, under the parameters that were used for it.
fn is_behind(phc: &str, password: &[u8], blocks: &mut Vec<Block>) -> bool {
    let Ok(parsed) = PasswordHash::new(phc) else { return false };
    let (Ok(params), Some(salt), Some(expected)) =
        (Params::try_from(&parsed), &parsed.salt, &parsed.hash)
    else {
        return false;
    };
    fill(password, salt.as_ref(), &params, blocks).is_ok_and(|hash| {
        aws_lc_rs::constant_time::verify_slices_are_equal(&hash, expected.as_ref()).is_ok()
    })
}

fn fill(
    password: &[u8],
    salt: &[u8],
    params: &Params,
    blocks: &mut Vec<Block>,
) -> Result<[u8; HASH_LENGTH], argon2::Error> {
    if blocks.len() < params.block_count() {
        blocks.resize(params.block_count(), Block::default());
    }
    let mut hash = [0; HASH_LENGTH];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password, salt, &mut hash, &mut *blocks)?;
    Ok(hash)
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
