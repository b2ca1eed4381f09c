//! Changes that every node must act on at once: a revoked session, a changed role.
//!
//! A row in `core.changes` is the truth. The node that commits one acts on it immediately; others
//! are woken by NOTIFY, which is only a hint, and look once a second in any case.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::app::App;
use crate::database::Db;
use crate::error::Result;
use crate::queue::job::interval;
use crate::time::Timestamp;
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
    /// How long ago it was made; its id says when.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        let ms = now.unix_ms().saturating_sub(made_ms(self.id));
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }

    /// A change of the thing `subject` of the kind `topic`.
    #[must_use]
    pub fn of(topic: &str, subject: &impl ToString) -> Self {
        Self { id: Uuid::now_v7(), topic: topic.to_owned(), subject: subject.to_string() }
    }
}

/// How far a look goes back: whatever commits becomes visible within the time of a request.
const WINDOW: Duration = Duration::from_secs(60);
/// A look tells the database of no more changes that it need not be told of.
const CARRIED_MAX: usize = 1_000;
/// Rows stay this long; whoever did not look for longer has nothing left that it remembers.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// The feed of changes on this node.
#[derive(Default)]
pub(crate) struct Changes {
    /// When this node last knew everything that was there.
    knew_at: Mutex<Option<Instant>>,
    /// Ids of the last minute, so that no change is acted on twice.
    seen: Mutex<HashSet<Uuid>>,
    /// Set when something recent is there to be read.
    to_look: Notify,
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn(&Change) + Send>;

impl Changes {
    pub(crate) fn listen(&self, listener: impl Fn(&Change) + Send + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Acts on what this node just committed.
    pub(crate) fn committed(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.act(changes);
    }

    /// There is something recent to read.
    pub(crate) fn look(&self) {
        self.to_look.notify_one();
    }

    /// What was acted on within the window; nothing when that is more than a look should carry, which
    /// then finds everything again.
    pub(crate) fn acted_on(&self) -> Vec<Uuid> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > CARRIED_MAX { Vec::new() } else { seen.iter().copied().collect() }
    }

    /// How far back to look: further, when the database was out of reach for a while.
    pub(crate) fn window(&self) -> Duration {
        let knew_at = *self.knew_at.lock().unwrap_or_else(PoisonError::into_inner);
        (WINDOW + knew_at.map(|at| at.elapsed()).unwrap_or_default()).min(KEPT)
    }

    /// At this moment, everything that was there was known.
    pub(crate) fn knew(&self, at: Instant) {
        *self.knew_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
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

/// Follows the feed until the process stops: looks whenever the pulse finds something recent.
pub(crate) async fn follow(app: Arc<App>) {
    loop {
        app.changes().to_look.notified().await;
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "the change feed could not be read");
        }
    }
}

async fn look(app: &Arc<App>) -> Result<()> {
    let (now, window) = (Instant::now(), app.changes().window());
    let mut tx = SystemTx::begin(app.origin()).await?;
    let recent = sqlx::query!(
        "select id, topic, subject from core.changes
         where at > statement_timestamp() - $1::interval order by at desc limit 10000",
        interval(window),
    )
    .fetch_all(tx.db())
    .await?;
    let changes: Vec<Change> = recent
        .into_iter()
        .map(|row| Change { id: row.id, topic: row.topic, subject: row.subject })
        .collect();
    let current: HashSet<Uuid> = changes.iter().map(|change| change.id).collect();
    app.changes().act(changes);
    app.changes().knew(now);
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

/// Removes what every node has seen long ago. A schedule's tick.
pub(crate) async fn forget_old(tx: &mut SystemTx) -> Result<()> {
    sqlx::query!(
        "delete from core.changes where at < statement_timestamp() - interval '10 minutes'"
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
