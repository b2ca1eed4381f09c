//! What operators do with the queue. They act on rows; the nodes hear of it through the change feed.

use uuid::Uuid;

use super::job::{JobId, Lane};
use super::{cancel, paused};
use crate::app::App;
use crate::changes::Change;
use crate::directory::TenantId;
use crate::error::Result;
use crate::queue::job::JobKind;
use crate::time::Timestamp;
use crate::tx::PlatformTx;

/// Which jobs that failed are to run again. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct DeadJobs {
    /// This one.
    pub id: Option<JobId>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Given up at this time or later.
    pub since: Option<Timestamp>,
    /// Given up before this time.
    pub until: Option<Timestamp>,
}

/// A kind of job, as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As in `webhooks.deliver`.
    pub name: &'static str,
    /// The lane it waits in.
    pub lane: &'static str,
    /// How many of the same key run at once.
    pub per_key: usize,
}

impl App {
    /// The kinds of jobs that this release works on, by name.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        let of = |kind: &JobKind| Kind {
            name: kind.name,
            lane: kind.lane.name(),
            per_key: kind.limits.at_once,
        };
        let mut kinds: Vec<Kind> = self.job_kinds().map(of).collect();
        kinds.sort_by_key(|kind| kind.name);
        kinds
    }

    /// The lanes by name, and how many jobs of each run at once on a node.
    #[must_use]
    pub fn lanes(&self) -> [(&'static str, usize); 3] {
        let places = self.config().limits.lanes.places();
        Lane::ALL.map(|lane| (lane.name(), places[lane.index()]))
    }
}

impl PlatformTx {
    /// Pauses a queue: a lane, a kind, or a kind and a key with a `/` between. What runs goes on.
    /// Answers whether it was not paused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause_queue(&mut self, name: &str, by: &str) -> Result<bool> {
        let paused = sqlx::query!(
            "insert into core.paused_queues (name, paused_by) values ($1, $2) on conflict do nothing",
            name,
            by,
        )
        .execute(self.db())
        .await?;
        self.announce(Change::of(paused::TOPIC, &name));
        Ok(paused.rows_affected() == 1)
    }

    /// Lets a queue go on. Answers whether it was paused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume_queue(&mut self, name: &str) -> Result<bool> {
        let resumed = sqlx::query!("delete from core.paused_queues where name = $1", name)
            .execute(self.db())
            .await?;
        self.announce(Change::of(paused::TOPIC, &name));
        Ok(resumed.rows_affected() == 1)
    }

    /// Ends a job that waits or runs; its kind is told, as of any job that is given up. One that runs
    /// is stopped wherever it waits, and may have done its work already. Answers the job's tenant, if
    /// there is such a job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_job(&mut self, job: JobId, by: &str) -> Result<Option<TenantId>> {
        let tenant = sqlx::query_scalar!(
            "update core.jobs set cancelled_by = coalesce(cancelled_by, $2) where id = $1
             returning tenant_id",
            *job,
            by,
        )
        .fetch_optional(self.db())
        .await?;
        self.announce(Change::of(cancel::TOPIC, &job.uuid()));
        Ok(tenant.map(TenantId::from_uuid))
    }

    /// Lets jobs that failed or were cancelled run again, the oldest first and at most `limit`, as if
    /// they had never run. Answers each with its tenant and kind. One whose like waits already, under
    /// the same unique key, is dropped instead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry_jobs(
        &mut self,
        which: &DeadJobs,
        limit: i64,
    ) -> Result<Vec<(JobId, TenantId, String)>> {
        let rows = sqlx::query!(
            "with dead as (
               delete from core.jobs_dead where id in (
                 select id from core.jobs_dead
                 where ($1::uuid is null or id = $1) and ($2::text is null or kind = $2)
                   and ($3::uuid is null or tenant_id = $3)
                   and ($4::timestamptz is null or died_at >= $4)
                   and ($5::timestamptz is null or died_at < $5)
                 order by died_at, id limit $6 for update skip locked)
               returning *
             )
             insert into core.jobs (id, lane, kind, tenant_id, queue, priority, unique_key, payload, state,
               run_at, created_at)
             select id, lane, kind, tenant_id, queue, priority, unique_key, payload, 'waiting',
               clock_timestamp(), created_at
             from dead order by died_at, id
             on conflict do nothing
             returning id, tenant_id, kind",
            which.id.map(|id| *id),
            which.kind.as_deref(),
            which.tenant.map(|tenant| *tenant),
            which.since as _,
            which.until as _,
            limit,
        )
        .fetch_all(self.db())
        .await?;
        if !rows.is_empty() {
            self.announce(Change::of(paused::TOPIC, &Uuid::nil()));
        }
        let again = rows
            .into_iter()
            .map(|row| (JobId::from_uuid(row.id), TenantId::from_uuid(row.tenant_id), row.kind));
        Ok(again.collect())
    }
}
