//! What is left of a webhook once it is gone: its log, which may hold millions of deliveries, goes in
//! pieces.

use std::time::Duration;

use freehold_kernel::{Job, JobCx, Lane, Result, RunJob, Tx};
use serde::{Deserialize, Serialize};

use crate::endpoints::EndpointId;

/// Deliveries in one transaction, and transactions in one run.
const AT_ONCE: i64 = 2_000;
const STEPS: usize = 50;
/// By then every statement has ended that found the webhook still there and logged something. Should one
/// have taken longer, what it logged is shown to nobody.
const ONCE_MORE: Duration = Duration::from_secs(5);

/// Removes the log of a webhook that is gone.
#[derive(Serialize, Deserialize)]
pub(crate) struct RemoveLog {
    endpoint: EndpointId,
}

/// Asks for it, in the transaction in which the webhook goes.
pub(crate) fn ask(tx: &mut Tx, endpoint: EndpointId) -> Result<()> {
    let job = RemoveLog { endpoint };
    tx.enqueue(&job)?;
    tx.enqueue_after(&job, ONCE_MORE)
}

impl Job for RemoveLog {
    const KIND: &'static str = "webhooks.remove_log";
    const LANE: Lane = Lane::Bulk;

    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 20).then(|| Duration::from_secs(u64::from(failures.min(30))))
    }
}

impl RunJob for RemoveLog {
    async fn run(self, cx: JobCx) -> Result<()> {
        for _ in 0..STEPS {
            let mut tx = cx.tx().await?;
            if self.step(&mut tx).await? == 0 {
                cx.finish(&mut tx).await?;
                return tx.commit().await;
            }
            tx.commit().await?;
        }
        let mut tx = cx.tx().await?;
        cx.repeat(&mut tx, Duration::ZERO, "there is more to remove").await?;
        tx.commit().await
    }
}

impl RemoveLog {
    /// Removes some deliveries with what was tried; answers how many.
    async fn step(&self, tx: &mut Tx) -> Result<u64> {
        let tenant = tx.tenant();
        let removed = sqlx::query!(
            "with gone as (
               select id from webhooks.deliveries
               where tenant_id = $1 and endpoint_id = $2 order by id limit $3
             ), attempts as (
               delete from webhooks.attempts a using gone
               where a.tenant_id = $1 and a.delivery_id = gone.id
             )
             delete from webhooks.deliveries d using gone where d.tenant_id = $1 and d.id = gone.id",
            *tenant,
            *self.endpoint,
            AT_ONCE,
        )
        .execute(tx.db())
        .await?;
        Ok(removed.rows_affected())
    }
}
