//! Changes that every node must act on at once: a revoked session, a changed role.
//!
//! A row in `core.changes` is the truth. The node that commits one acts on it immediately; others
//! are woken by NOTIFY, which is only a hint, and look once a second in any case.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::app::App;
use crate::database::Db;
use crate::error::Result;
use crate::tx::SystemTx;

/// What changed: everything remembered about `subject` is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    id: Uuid,
    /// The kind of thing, as in `session`.
    pub topic: String,
    /// Its id.
    pub subject: String,
}

impl Change {
    /// A change of the thing `subject` of the kind `topic`.
    #[must_use]
    pub fn of(topic: &str, subject: &impl ToString) -> Self {
        Self { id: Uuid::now_v7(), topic: topic.to_owned(), subject: subject.to_string() }
    }
}

const POLL_EVERY: Duration = Duration::from_secs(1);
const CHANNEL: &str = "freehold_changes";

/// The feed of changes on this node.
#[derive(Default)]
pub(crate) struct Changes {
    /// Ids of the last minute, so that no change is acted on twice.
    seen: Mutex<HashSet<Uuid>>,
    /// Set when this node committed a change that others should look at.
    to_tell: Notify,
    /// Set when another node says that it did.
    hinted: Notify,
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn(&Change) + Send>;

impl Changes {
    pub(crate) fn listen(&self, listener: impl Fn(&Change) + Send + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Acts on what this node just committed, and wakes the task that tells the others.
    pub(crate) fn committed(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.act(changes);
        self.to_tell.notify_one();
    }

    fn act(&self, changes: Vec<Change>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let news: Vec<Change> =
            changes.into_iter().filter(|change| seen.insert(change.id)).collect();
        drop(seen);
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for change in &news {
            listeners.iter().for_each(|listener| listener(change));
        }
    }
}

/// Writes changes as part of the transaction that causes them.
pub(crate) async fn write(db: &mut Db, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changes.iter().map(|change| change.id).collect();
    let topics: Vec<String> = changes.iter().map(|change| change.topic.clone()).collect();
    let subjects: Vec<String> = changes.iter().map(|change| change.subject.clone()).collect();
    sqlx::query!(
        "insert into core.changes (id, topic, subject)
         select * from unnest($1::uuid[], $2::text[], $3::text[])",
        &ids,
        &topics,
        &subjects,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Follows the feed until the process stops. Failures are logged and the next look tries again.
pub(crate) async fn follow(app: Arc<App>) {
    tokio::spawn(listen(app.clone()));
    let mut rounds = 0_u32;
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL_EVERY) => {}
            () = app.changes().to_tell.notified() => {
                if let Err(error) = app.database().notify(CHANNEL).await {
                    tracing::debug!(%error, "other nodes were not woken; they look within a second");
                }
                continue;
            }
            () = app.changes().hinted.notified() => {}
        }
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "the change feed could not be read");
        }
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(60)
            && let Err(error) = forget_old(&app).await
        {
            tracing::warn!(%error, "old changes could not be removed");
        }
    }
}

/// Hears other nodes' hints. The listener reconnects by itself; until then the poll serves. Its
/// connection belongs to the pool, so it must let go of it when the pool closes.
async fn listen(app: Arc<App>) {
    while !app.is_stopping() {
        match app.database().listen(CHANNEL).await {
            Ok(mut listener) => {
                while listener.recv().await.is_ok() {
                    app.changes().hinted.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, "cannot listen for changes yet"),
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

async fn look(app: &Arc<App>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let recent = sqlx::query!(
        "select id, topic, subject from core.changes
         where at > clock_timestamp() - interval '1 minute' order by at limit 10000"
    )
    .fetch_all(tx.db())
    .await?;
    let changes: Vec<Change> = recent
        .into_iter()
        .map(|row| Change { id: row.id, topic: row.topic, subject: row.subject })
        .collect();
    let current: HashSet<Uuid> = changes.iter().map(|change| change.id).collect();
    app.changes().act(changes);
    let mut seen = app.changes().seen.lock().unwrap_or_else(PoisonError::into_inner);
    // What left the window cannot come back; what is in it or younger stays known.
    let a_minute_ago = app.config().clock.now() - Duration::from_secs(120);
    seen.retain(|id| current.contains(id) || made_ms(*id) > a_minute_ago.unix_ms());
    Ok(())
}

/// When a UUIDv7 was made, in milliseconds since 1970.
fn made_ms(id: Uuid) -> i64 {
    id.get_timestamp().map_or(0, |at| {
        let (seconds, nanoseconds) = at.to_unix();
        i64::try_from(seconds * 1000 + u64::from(nanoseconds) / 1_000_000).unwrap_or(i64::MAX)
    })
}

async fn forget_old(app: &Arc<App>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    sqlx::query!("delete from core.changes where at < clock_timestamp() - interval '10 minutes'")
        .execute(tx.db())
        .await?;
    tx.commit().await
}
