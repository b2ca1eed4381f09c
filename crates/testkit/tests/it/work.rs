//! Kinds of jobs that do what a test tells them.

use std::time::Duration;

use freehold_kernel::{Error, Job, JobCx, Lane, Result, RunJob, Tx};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stream::Watch;

/// Leaves a thing behind, in the way its mode says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) name: String,
    pub(crate) mode: String,
}

impl Act {
    pub(crate) fn new(name: &str, mode: &str) -> Self {
        Self { name: name.to_owned(), mode: mode.to_owned() }
    }
}

impl Job for Act {
    const KIND: &'static str = "fixture.act";
    const LANE: Lane = Lane::Standard;

    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 3).then(|| Duration::from_secs(60))
    }
}

impl RunJob for Act {
    async fn run(self, cx: JobCx) -> Result<()> {
        let watch = Watch::of(cx.tenant());
        let _inside = watch.enter();
        let first = cx.attempt() == 1;
        match self.mode.as_str() {
            "fail" => return Err(Error::internal("as it was told")),
            "panic" => panic!("a job panics"),
            "gate" => watch.gate.pass().await,
            // The second run finds the way free.
            "hang once" if first => std::future::pending().await,
            "again" if first => {
                let mut tx = cx.tx().await?;
                cx.repeat(&mut tx, Duration::from_secs(5), "once more").await?;
                return tx.commit().await;
            }
            _ => {}
        }
        let mut tx = cx.tx().await?;
        // Looked for at COMMIT.
        let parent = (self.mode == "orphan once" && first).then(Uuid::now_v7);
        put(&mut tx, &self.name, parent).await?;
        if self.mode != "unsettled" {
            cx.finish(&mut tx).await?;
        }
        if self.mode == "forgets to commit once" && first {
            return Ok(());
        }
        tx.commit().await
    }
}

async fn put(tx: &mut Tx, name: &str, parent: Option<Uuid>) -> Result<()> {
    let (tenant, now) = (*tx.tenant(), tx.now());
    sqlx::query(
        "insert into fixture.things (tenant_id, id, name, parent_id, created_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(parent)
    .bind(now)
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Never ends by itself.
#[derive(Serialize, Deserialize)]
pub(crate) struct Brief;

impl Job for Brief {
    const KIND: &'static str = "fixture.brief";
    const LANE: Lane = Lane::Standard;
    const TIMEOUT: Duration = Duration::from_millis(100);

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Brief {
    async fn run(self, cx: JobCx) -> Result<()> {
        let _inside = Watch::of(cx.tenant()).enter();
        std::future::pending().await
    }
}

/// Three at once per key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Keyed {
    pub(crate) key: String,
    pub(crate) hangs: bool,
}

impl Job for Keyed {
    const KIND: &'static str = "fixture.keyed";
    const LANE: Lane = Lane::Standard;
    const PER_KEY: usize = 3;

    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Keyed {
    async fn run(self, cx: JobCx) -> Result<()> {
        let watch = Watch::of(cx.tenant());
        let _inside = watch.enter();
        if self.hangs {
            watch.gate.pass().await;
        } else {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Hangs in the lane for bulk.
#[derive(Serialize, Deserialize)]
pub(crate) struct Bulk;

impl Job for Bulk {
    const KIND: &'static str = "fixture.bulk";
    const LANE: Lane = Lane::Bulk;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Bulk {
    async fn run(self, cx: JobCx) -> Result<()> {
        let watch = Watch::of(cx.tenant());
        let _inside = watch.enter();
        watch.gate.pass().await;
        Ok(())
    }
}

/// Somebody is waiting for it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Quick;

impl Job for Quick {
    const KIND: &'static str = "fixture.quick";
    const LANE: Lane = Lane::Transactional;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Quick {
    async fn run(self, cx: JobCx) -> Result<()> {
        let mut tx = cx.tx().await?;
        put(&mut tx, "quick", None).await?;
        cx.finish(&mut tx).await?;
        tx.commit().await
    }
}
