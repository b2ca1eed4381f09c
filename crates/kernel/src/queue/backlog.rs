//! How much waits, is delayed and runs.

use crate::Db;
use crate::error::Result;
use crate::tx::PlatformTx;

/// Jobs of one lane, kind and state.
#[derive(Clone, Debug)]
pub struct JobsWaiting {
    /// Its number: 0 transactional, 1 standard, 2 bulk.
    pub lane: i16,
    /// As in `webhooks.deliver`.
    pub kind: String,
    /// `waiting`, `delayed` or `active`.
    pub state: String,
    /// How many, as far as was counted.
    pub count: i64,
    /// For how long the oldest of those that wait may have run.
    pub oldest_seconds: Option<f64>,
}

/// How far jobs are counted, so that the question costs no more than that.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Queues of tenants.
    pub queues: i64,
    /// Jobs of each of these.
    pub of_each: i64,
    /// Jobs that wait, in all.
    pub waiting: i64,
    /// Jobs that are delayed, and jobs that run.
    pub others: i64,
}

/// In the order of the index, so that what waits costs one step for each queue and what is counted.
/// Kinds that are not among `kinds` are `unknown` together; without it, each is what it is called.
pub(crate) async fn count(
    db: &mut Db,
    kinds: Option<&[&str]>,
    most: Most,
) -> Result<Vec<JobsWaiting>> {
    let rows = sqlx::query_as!(
        JobsWaiting,
        r#"with recursive heads as (
           select h.* from unnest(array[0, 1, 2]::smallint[]) as l (lane)
           cross join lateral (
             select lane, tenant_id, queue, priority, run_at from core.jobs
             where lane = l.lane and state = 'waiting'
             order by tenant_id, queue, priority, run_at, id limit 1) as h
           union all
           select n.* from heads h cross join lateral (
             select lane, tenant_id, queue, priority, run_at from core.jobs
             where lane = h.lane and state = 'waiting'
               and (tenant_id, queue, priority) > (h.tenant_id, h.queue, h.priority)
             order by tenant_id, queue, priority, run_at, id limit 1) as n
         ), counted as (
           (select h.lane, split_part(h.queue, '/', 1) as kind, 'waiting' as state, h.run_at
           from (select * from heads limit $1) as h
           cross join lateral (
             select 1 from core.jobs
             where lane = h.lane and tenant_id = h.tenant_id and queue = h.queue
               and priority = h.priority and state = 'waiting' limit $2) as j
           limit $3)
           union all
           select lane, kind, 'delayed', null from (
             select lane, kind from core.jobs where state = 'delayed' limit $5) as d
           union all
           select lane, kind, 'active', null from (
             select lane, kind from core.jobs where state = 'active' limit $5) as a
         )
         select lane as "lane!", case when coalesce(kind = any($4), true) then kind else 'unknown' end as "kind!",
           state as "state!", count(*) as "count!",
           case when min(run_at) is not null then
             greatest(0, extract(epoch from statement_timestamp() - min(run_at)))::float8
           end as oldest_seconds
         from counted group by 1, 2, 3"#,
        most.queues,
        most.of_each,
        most.waiting,
        kinds as _,
        most.others,
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}

impl PlatformTx {
    /// How much waits, is delayed and runs, for each lane and kind.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn backlog(&mut self, most: Most) -> Result<Vec<JobsWaiting>> {
        count(self.db(), None, most).await
    }
}
