//! How far a job has come, for whoever watches it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::app::App;
use crate::error::Result;
use crate::tx::SystemTx;

/// Nobody watches more closely.
const EVERY: Duration = Duration::from_secs(1);

/// When progress was last written down.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Option<Instant>>>);

impl Progress {
    /// Writes down how far the job has come, unless that was done a moment ago. The end always is.
    pub(super) async fn note(
        &self,
        app: &Arc<App>,
        (job, claim): (Uuid, Uuid),
        done: u64,
        of: u64,
    ) -> Result<()> {
        if !self.is_due() && done < of {
            return Ok(());
        }
        let progress = serde_json::json!({ "done": done, "of": of });
        let mut tx = SystemTx::begin_redoable(app.origin()).await?;
        sqlx::query!(
            "update core.jobs set progress = $3 where id = $1 and claim = $2",
            job,
            claim,
            progress,
        )
        .execute(tx.db())
        .await?;
        tx.commit().await
    }

    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|at| at.elapsed() < EVERY) {
            return false;
        }
        *last = Some(Instant::now());
        true
    }
}
