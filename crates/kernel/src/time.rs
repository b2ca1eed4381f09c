//! Time: the clock a process reads, and the timestamp the API speaks.
//!
//! Real time governs tokens, sessions, rate limits and leases; business time (`tx.now()`) governs
//! what a customer would call a date. In production both come from the system; a test owns one
//! clock and moves it.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, SubsecRound, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};

/// Where a process gets the time. Cheap to clone; clones share what a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds a test has moved this clock ahead of the system; none in production.
    ahead_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The current time, to the millisecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let ahead = chrono::Duration::milliseconds(self.ahead_ms.load(Ordering::Relaxed));
        Timestamp((Utc::now() + ahead).trunc_subsecs(3))
    }

    /// Moves this clock forward. Tests only: nothing in a release path calls it.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms.fetch_add(by, Ordering::Relaxed);
    }

    /// Moves this clock back, as a wrong time server would. Tests only, likewise.
    pub fn set_back(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms.fetch_sub(by, Ordering::Relaxed);
    }
}

/// A moment in UTC. On the wire RFC 3339 with milliseconds: `2026-11-21T09:30:00.000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Seconds since 1970, as in a JWT.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.timestamp()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// Reads milliseconds since 1970; `None` when they lie outside what a calendar can say.
    #[must_use]
    pub fn from_unix_ms(ms: i64) -> Option<Self> {
        Utc.timestamp_millis_opt(ms).single().map(Self)
    }

    /// Reads seconds since 1970, as in a JWT.
    #[must_use]
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        Self::from_unix_ms(seconds.checked_mul(1000)?)
    }

    /// How long after `earlier` this is; nothing when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        (self.0 - earlier.0).to_std().unwrap_or_default()
    }

    /// The day in UTC.
    #[must_use]
    pub fn date(self) -> chrono::NaiveDate {
        self.0.date_naive()
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0 - by)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads RFC 3339; years 1 to 9999, which is what it and the database can both say.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let moment = DateTime::<Utc>::deserialize(deserializer)?;
        if !(1..=9999).contains(&moment.year()) {
            return Err(serde::de::Error::custom("expected a year from 1 to 9999"));
        }
        Ok(Self(moment.trunc_subsecs(3)))
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-11-21T09:30:00.000Z"])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {
    fn name() -> std::borrow::Cow<'static, str> {
        "core.Timestamp".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_with_milliseconds_and_z() {
        let moment = Timestamp::from_unix_ms(1_790_000_000_007).unwrap();
        assert_eq!(serde_json::to_string(&moment).unwrap(), "\"2026-09-21T14:13:20.007Z\"");
    }

    #[test]
    fn a_moved_clock_moves_its_clones() {
        let clock = Clock::default();
        let twin = clock.clone();
        let before = twin.now();
        clock.advance(Duration::from_secs(3600));
        assert!(twin.now() >= before + Duration::from_secs(3600));
    }
}
