//! Queues that hand nothing out: a lane, a kind, or a kind and a key.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::Lane;
use crate::app::App;
use crate::error::Result;
use crate::tx::SystemTx;

/// Says in the change feed that a queue was paused or goes on, or that jobs were put into one.
pub(super) const TOPIC: &str = "queue";
/// Between two attempts while the database is away.
const PAUSE: Duration = Duration::from_secs(1);

/// What is paused, as this node knows it: at most a second behind.
#[derive(Default)]
pub(super) struct Paused {
    /// `None` until they have been read: nothing is handed out before.
    names: RwLock<Option<HashSet<String>>>,
    changed: Notify,
}

impl Paused {
    pub(super) fn holds(&self, lane: Lane, kind: &str, queue: &str) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = &*names else { return true };
        !names.is_empty() && [lane.name(), kind, queue].iter().any(|name| names.contains(*name))
    }

    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }
}

/// Reads what is paused, at first and whenever that changed, until the process stops.
pub(super) async fn follow(app: Arc<App>) {
    loop {
        if let Err(error) = read(&app).await {
            tracing::warn!(%error, "which queues are paused could not be read");
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        app.queue().paused.changed.notified().await;
    }
}

pub(super) async fn read(app: &Arc<App>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let names =
        sqlx::query_scalar!("select name from core.paused_queues").fetch_all(tx.db()).await?;
    let known = &app.queue().paused.names;
    *known.write().unwrap_or_else(PoisonError::into_inner) = Some(names.into_iter().collect());
    app.queue().sweep(app);
    Ok(())
}
