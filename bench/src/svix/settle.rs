//! Whether svix-server has done what it accepted, and how long it took: read from its tables, by
//! the kind of answer that each attempt got, which all its versions keep.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sqlx::{Connection, PgConnection};

use crate::books::{PATIENCE, POLL, Tally};
use crate::receiver::Receiver;

/// If nothing arrives for so long, nothing more will.
const QUIET: Duration = Duration::from_secs(3);
/// If nothing arrives at all, nothing will: its first retry comes after 5 s.
const STUCK: Duration = Duration::from_secs(12);
/// Counting attempts takes PostgreSQL's time, which svix-server has a use for.
const COUNT_POLL: Duration = Duration::from_millis(250);

const TAKEN: &str = "select count(*) from message where created_at >= to_timestamp($1)";
const TALLY: &str = "
    select
      (select count(*) from message where created_at >= to_timestamp($1)) as taken,
      count(distinct m.id) as logged,
      coalesce(extract(epoch from max(a.ended_at) - min(m.created_at)), 0)::float8 as seconds,
      coalesce(extract(epoch from max(a.ended_at)), 0)::float8 as last
    from message m join messageattempt a on a.msg_id = m.id
    where m.created_at >= to_timestamp($1) and a.response_status_code between 200 and 299";

const FAILED: &str = "
    select response_status_code || ' ' || response from messageattempt
    where response_status_code not between 200 and 299 order by created_at desc limit 1";

/// What was asked of it.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// When it began, in seconds since 1970.
    pub(crate) since: f64,
    /// How many posts were answered.
    pub(crate) answered: i64,
    /// How many connections were closed at the end, perhaps before an answer.
    pub(crate) cut: i64,
}

/// Waits until what it has answered is delivered and logged. A message whose sender hung up before
/// the answer may be stored and never queued: nobody was promised anything.
pub(crate) async fn settle(database: &str, receiver: &Receiver, asked: Asked) -> Result<Tally> {
    let mut database = PgConnection::connect(database).await?;
    let mut taken: i64 =
        sqlx::query_scalar(TAKEN).bind(asked.since).fetch_one(&mut database).await?;
    let began = Instant::now();
    let (mut arrived, mut last) = (0, Instant::now());
    loop {
        let seen = receiver.seen().await?.ids;
        if seen != arrived {
            (arrived, last) = (seen, Instant::now());
        }
        if is_all(asked, taken, arrived, last.elapsed()) {
            let tally = sqlx::query_as(TALLY).bind(asked.since).fetch_one(&mut database).await;
            let tally: Tally = tally.context("svix-server's tables cannot be read")?;
            if tally.taken == taken && tally.logged >= arrived {
                return Ok(tally);
            }
            taken = tally.taken;
            tokio::time::sleep(COUNT_POLL).await;
        }
        if began.elapsed() > PATIENCE || (arrived == 0 && began.elapsed() > STUCK) {
            let reason: Option<String> =
                sqlx::query_scalar(FAILED).fetch_optional(&mut database).await?;
            let reason = reason.map(|text| format!("; the last failed attempt: {text}"));
            let reason = reason.unwrap_or_default();
            bail!("svix-server is not done: {taken} taken, {arrived} arrived{reason}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether everything has arrived that will.
fn is_all(asked: Asked, taken: i64, arrived: i64, quiet: Duration) -> bool {
    let missing = taken - arrived;
    missing <= 0 || (arrived >= asked.answered && missing <= asked.cut && quiet >= QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_that_nobody_was_promised_may_be_missing() {
        let asked = Asked { since: 0.0, answered: 100, cut: 4 };
        let soon = Duration::from_millis(500);
        assert!(is_all(asked, 103, 103, soon));
        assert!(!is_all(asked, 103, 101, soon), "it may still come");
        assert!(is_all(asked, 103, 101, QUIET));
        assert!(!is_all(asked, 103, 99, QUIET), "one of these was answered");
        assert!(!is_all(asked, 106, 101, QUIET), "more than were cut off");
    }
}
