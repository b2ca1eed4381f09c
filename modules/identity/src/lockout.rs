//! Lockout: five failed tries to prove who one is, and further ones are refused for 30 minutes.
//!
//! Tries are counted by whom they are about and where they come from. All sources that are no known
//! devices of the person share one count, which an address that nobody registered has as well; each
//! known device has its own, and so has each session that asks for the password again. The counts
//! are in PostgreSQL, so that all nodes share them.
//!
//! A try is judged when its verdict is recorded, under the row's lock: of a hundred that arrive at
//! once five learn that they were wrong, and the others nothing, not even that they were right.

use std::time::Duration;

use freehold_kernel::crypto::Keyring;
use freehold_kernel::{
    AccountTx, Error, Event, Kind, Result, TenantId, Timestamp, UserId, directory,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::email;
use crate::flood::Flood;
use crate::known_device::KnownDevice;
use crate::session::{self, SessionId};

const FAILURES_MAX: i32 = 5;
/// How long a count is kept after the last failed try, and so how long five of them lock.
const KEPT_FOR: Duration = Duration::from_secs(30 * 60);
const PURPOSE: &str = "failed tries";

/// Somebody tried to prove who they are and failed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::AuthFailed)]
#[event(type = "auth.failed", subject = subject)]
pub(crate) struct AuthFailed {
    /// The person whose address was used, or `unknown`.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    pub(crate) subject: String,
    /// How they tried: `password` to sign in, `reauthentication` within a session.
    #[schema(example = "password")]
    pub(crate) method: &'static str,
    /// The address as it was typed.
    #[personal]
    #[schema(example = "ada@example.org")]
    pub(crate) email: String,
}

/// Too many tries failed: those from the same source, or from all unknown ones, are refused for a
/// while.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::AuthLocked)]
#[event(type = "auth.locked", subject = subject)]
pub(crate) struct AuthLocked {
    /// The person whose address was used, or `unknown`.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    subject: String,
    /// Who is refused: `strangers`, one known `device`, or one `session`.
    #[schema(example = "strangers")]
    source: &'static str,
    /// Until when.
    until: Timestamp,
    /// The address as it was typed.
    #[personal]
    #[schema(example = "ada@example.org")]
    email: String,
}

/// A try that failed.
pub(crate) struct Failure {
    pub(crate) person: Option<UserId>,
    pub(crate) method: &'static str,
    pub(crate) email: String,
}

/// Where tries of one person are counted together.
pub(crate) struct Counter {
    name: [u8; 32],
    source: &'static str,
}

impl Counter {
    /// For whoever types an address on a device that is not known to be its owner's.
    pub(crate) fn of_strangers(keyring: &Keyring, email: &str) -> Result<Self> {
        Self::named(keyring, "strangers", email::normalise(email).as_bytes())
    }

    /// For one known device of a person.
    pub(crate) fn of_device(keyring: &Keyring, known: KnownDevice) -> Result<Self> {
        let whose = [known.user.as_bytes().as_slice(), known.device.as_bytes()].concat();
        Self::named(keyring, "device", &whose)
    }

    /// For the holder of a session who is asked for the password again.
    pub(crate) fn of_session(keyring: &Keyring, session: SessionId) -> Result<Self> {
        Self::named(keyring, "session", session.as_bytes())
    }

    fn named(keyring: &Keyring, source: &'static str, whose: &[u8]) -> Result<Self> {
        let message = [source.as_bytes(), b":", whose].concat();
        Ok(Self { name: keyring.authenticate(PURPOSE, &message)?, source })
    }

    /// Refuses what this node knows to be locked, without a statement.
    ///
    /// # Errors
    /// 429 `identity.locked`, with the time that remains.
    pub(crate) fn check_memory(&self, flood: &Flood, now: Timestamp) -> Result<()> {
        flood.locked_until(&self.name, now).map_or(Ok(()), |until| Err(locked(until, now)))
    }

    /// Refuses while locked. Comes before hashing, so that a flood on one account costs no CPU.
    ///
    /// # Errors
    /// 429 `identity.locked`, with the time that remains.
    pub(crate) async fn check(&self, tx: &mut AccountTx, flood: &Flood) -> Result<()> {
        let now = tx.real_now();
        let until = sqlx::query_scalar!(
            "select forget_at from identity.failed_tries
             where name = $1 and failures >= $2 and forget_at > $3",
            &self.name,
            FAILURES_MAX,
            now as _,
        )
        .fetch_optional(tx.db())
        .await?;
        let Some(until) = until else { return Ok(()) };
        flood.note_lock(self.name, until);
        Err(locked(until, now))
    }

    /// Counts a failed try and records it, where it concerns somebody.
    ///
    /// # Errors
    /// 429 `identity.locked` when others failed meanwhile: this one learns nothing.
    pub(crate) async fn fail(&self, tx: &mut AccountTx, failure: Failure) -> Result<()> {
        let (failures, until) = self.count(tx).await?;
        if failures > FAILURES_MAX {
            return Err(locked(until, tx.real_now()));
        }
        forget_some(tx).await?;
        let Failure { person, method, email } = failure;
        let homes = homes_of(tx, person).await?;
        let subject = person.map_or_else(|| "unknown".to_owned(), |person| person.to_string());
        let failed = AuthFailed { subject: subject.clone(), method, email: email.clone() };
        if let Some(home) = homes.first() {
            tx.emit(*home, failed).await?;
        }
        let told: &[TenantId] = if failures == FAILURES_MAX { &homes } else { &[] };
        for home in told {
            let (subject, email) = (subject.clone(), email.clone());
            tx.emit(*home, AuthLocked { subject, source: self.source, until, email }).await?;
        }
        Ok(())
    }

    async fn count(&self, tx: &mut AccountTx) -> Result<(i32, Timestamp)> {
        let now = tx.real_now();
        let row = sqlx::query!(
            "insert into identity.failed_tries as t (name, failures, forget_at) values ($1, 1, $3)
             on conflict (name) do update
             set failures = case when t.forget_at <= $2 then 1 else t.failures + 1 end,
               forget_at = excluded.forget_at
             returning failures, forget_at",
            &self.name,
            now as _,
            (now + KEPT_FOR) as _,
        )
        .fetch_one(tx.db())
        .await?;
        Ok((row.failures, row.forget_at))
    }

    /// Forgets the failed tries after one that was right.
    ///
    /// # Errors
    /// 429 `identity.locked` when others failed meanwhile: this one came too late.
    pub(crate) async fn clear(&self, tx: &mut AccountTx) -> Result<()> {
        let now = tx.real_now();
        let before = sqlx::query!(
            "delete from identity.failed_tries where name = $1 returning failures, forget_at",
            &self.name,
        )
        .fetch_optional(tx.db())
        .await?;
        match before {
            Some(row) if row.failures >= FAILURES_MAX && row.forget_at > now => {
                Err(locked(row.forget_at, now))
            }
            _ => Ok(()),
        }
    }
}

/// The same words for every account, whether there is one or not.
fn locked(until: Timestamp, now: Timestamp) -> Error {
    let left = until.since(now);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let minutes = seconds.div_ceil(60);
    let plural = if minutes == 1 { "" } else { "s" };
    let detail = format!("Too many tries failed. Try again in {minutes} minute{plural}.");
    Error::new(Kind::TooMany, "identity.locked", detail).retry_after(seconds)
}

/// Each failed try takes more rows away than it makes, so that made-up addresses do not pile up.
async fn forget_some(tx: &mut AccountTx) -> Result<()> {
    let now = tx.real_now();
    sqlx::query!(
        "delete from identity.failed_tries where name in (
           select name from identity.failed_tries where forget_at <= $1
           order by forget_at limit 2 for update skip locked)",
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Where failed tries are recorded: each in the tenant the person used last, so that a person in
/// many tenants is not told from one in none by the time it takes; the lock, which is what an
/// administrator acts on, in every tenant they are in. What concerns nobody's tenant is the
/// platform's.
async fn homes_of(tx: &mut AccountTx, person: Option<UserId>) -> Result<Vec<TenantId>> {
    let mut homes: Vec<TenantId> = match person {
        Some(person) => {
            session::tenants_of(tx, person).await?.into_iter().map(|tenant| tenant.id).collect()
        }
        None => Vec::new(),
    };
    if homes.is_empty() {
        homes.push(directory::platform_tenant(tx).await?);
    }
    Ok(homes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_said_in_whole_minutes_and_never_too_early() {
        let at = |ms: i64| Timestamp::from_unix_ms(ms).unwrap();
        let said = |left_ms: i64| {
            let error = locked(at(left_ms), at(0));
            (error.retry_after_s().unwrap(), error.detail().to_owned())
        };
        let words = |n: &str| format!("Too many tries failed. Try again in {n}.");
        assert_eq!(said(1_800_000), (1800, words("30 minutes")));
        assert_eq!(said(1_799_001), (1800, words("30 minutes")));
        assert_eq!(said(60_001), (61, words("2 minutes")));
        assert_eq!(said(60_000), (60, words("1 minute")));
        assert_eq!(said(1), (1, words("1 minute")));
    }

    #[test]
    fn sources_are_counted_apart_and_spellings_together() {
        let keyring = Keyring::new(&[3; 32], &[]);
        let strangers = |email| Counter::of_strangers(&keyring, email).unwrap().name;
        assert_eq!(strangers("ADA@example.org"), strangers("ada@Example.ORG"));
        assert_ne!(strangers("ada@example.org"), strangers("bob@example.org"));
        let now = Timestamp::from_unix_ms(0).unwrap();
        let device = |user| {
            let known = KnownDevice::of(user, None, now);
            Counter::of_device(&keyring, known).unwrap().name
        };
        let ada = UserId::new();
        assert_ne!(device(ada), device(ada), "two devices of one person");
    }
}
