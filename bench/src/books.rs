//! What the database says became of events: whether all is done, and how long it took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection};

use crate::receiver::Receiver;

/// How long what was accepted may take to be delivered.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Who keeps books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    Application,
    ByHand,
}

/// What has happened since a moment.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Tally {
    /// Events that were taken.
    pub(crate) taken: i64,
    /// Those that were delivered and logged.
    pub(crate) logged: i64,
    /// From the first event to the last line in the log.
    pub(crate) seconds: f64,
    /// When that line was written, in seconds since 1970.
    pub(crate) last: f64,
}

impl Keeper {
    const fn is_busy(self) -> &'static str {
        match self {
            Self::Application => {
                "select exists (select from core.outbox)
                   or exists (select from core.jobs where kind = 'webhooks.deliver')"
            }
            Self::ByHand => {
                "select (select count(*) from bench.taken) <> (select count(*) from bench.sent)"
            }
        }
    }

    const fn tally(self) -> &'static str {
        match self {
            Self::Application => {
                "select
                   (select count(*) from core.events
                    where source = 'custom' and type like 'order.%' and at >= to_timestamp($1)) as taken,
                   count(*) filter (where status = 'delivered') as logged,
                   coalesce(extract(epoch from max(delivered_at) - min(event_at)), 0)::float8 as seconds,
                   coalesce(extract(epoch from max(delivered_at)), 0)::float8 as last
                 from webhooks.deliveries where event_at >= to_timestamp($1)"
            }
            Self::ByHand => {
                "select
                   (select count(*) from bench.taken where at >= to_timestamp($1)) as taken,
                   count(*) as logged,
                   coalesce(extract(epoch from max(s.at) - min(t.at)), 0)::float8 as seconds,
                   coalesce(extract(epoch from max(s.at)), 0)::float8 as last
                 from bench.taken t join bench.sent s using (tenant_id, id)
                 where t.at >= to_timestamp($1)"
            }
        }
    }

    /// Waits until nothing is left to do, then counts, as the superuser of the database at this
    /// URL. Everything taken must have been delivered, and the receiver must have it.
    pub(crate) async fn close(
        self,
        database: &str,
        receiver: &Receiver,
        since: f64,
    ) -> Result<Tally> {
        let mut database = PgConnection::connect(database).await?;
        let began = Instant::now();
        while sqlx::query_scalar::<_, bool>(self.is_busy()).fetch_one(&mut database).await? {
            if began.elapsed() > PATIENCE {
                let tally = self.count(&mut database, since).await?;
                bail!("not done after {} s: {tally:?}", PATIENCE.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
        let tally = self.count(&mut database, since).await?;
        let seen = receiver.seen().await?;
        ensure!(tally.taken > 0, "nothing was taken");
        ensure!(tally.logged == tally.taken, "not everything was delivered: {tally:?}");
        ensure!(
            seen.ids == tally.taken,
            "the receiver has other than was logged: {tally:?} {seen:?}"
        );
        // At least once is the promise; without a crash, once is what is expected.
        ensure!(seen.requests == seen.ids, "the receiver got some more than once: {seen:?}");
        Ok(tally)
    }

    async fn count(self, database: &mut PgConnection, since: f64) -> Result<Tally> {
        let tally = sqlx::query_as(self.tally()).bind(since).fetch_one(database).await;
        tally.context("the books cannot be read")
    }
}

/// Seconds since 1970, on the clock that rows are stamped with.
pub(crate) fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
