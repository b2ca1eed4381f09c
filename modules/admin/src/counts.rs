//! How much waits, runs and ended: three questions to the database, each with a bound on what it costs.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_kernel::{App, PlatformTx, Result, Timestamp};

use crate::queue_list::Facts;
use crate::queues::Pause;

/// How many queues of tenants' are looked at, and how many jobs of each.
const QUEUES_MAX: i64 = 10_000;
/// How many jobs of each state are counted in all.
const JOBS_MAX: i64 = 500_000;
/// Among so many jobs that were given up last, those that stalled are looked for.
const DEAD_MAX: i64 = 100_000;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Jobs of one lane, kind and state.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) lane: i16,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) count: i64,
    /// Since when the oldest of those that wait may run.
    pub(crate) oldest: Option<Timestamp>,
}

/// How jobs of one kind ended.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) kind: String,
    pub(crate) completed: i64,
    pub(crate) failed: i64,
    pub(crate) stalled: i64,
}

/// Asks for everything that the list of queues is made of.
pub(crate) async fn read(tx: &mut PlatformTx, app: &App) -> Result<Facts> {
    Ok(Facts {
        now: tx.real_now(),
        lanes: app.lanes(),
        kinds: app.kinds(),
        backlog: backlog(tx).await?,
        ends: ends(tx).await?,
        paused: paused(tx).await?,
    })
}

/// In the order of the index, so that it costs one step for each queue and what is counted.
async fn backlog(tx: &mut PlatformTx) -> Result<Vec<Backlog>> {
    let rows = sqlx::query_as!(
        Backlog,
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
         ), waiting as (
           select h.lane, split_part(h.queue, '/', 1) as kind, h.run_at
           from (select * from heads limit $1) as h
           cross join lateral (
             select 1 from core.jobs
             where lane = h.lane and tenant_id = h.tenant_id and queue = h.queue
               and priority = h.priority and state = 'waiting' limit $1) as j
           limit $2
         )
         select lane as "lane!", kind as "kind!", 'waiting' as "state!", count(*) as "count!",
           min(run_at) as oldest
         from waiting group by 1, 2
         union all
         select lane, kind, 'delayed', count(*), null from (
           select lane, kind from core.jobs where state = 'delayed' limit $2) as d
         group by 1, 2
         union all
         select lane, kind, 'active', count(*), null from (
           select lane, kind from core.jobs where state = 'active' limit $2) as a
         group by 1, 2"#,
        QUEUES_MAX,
        JOBS_MAX,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(rows)
}

async fn ends(tx: &mut PlatformTx) -> Result<Vec<Ends>> {
    let now = tx.real_now();
    let rows = sqlx::query_as!(
        Ends,
        r#"select kind as "kind!", sum(completed)::bigint as "completed!", sum(failed)::bigint as "failed!",
           sum(stalled)::bigint as "stalled!"
         from (
           select kind, case when hour > $1 then completed else 0 end as completed, failed, 0 as stalled
           from core.job_counts where hour > $2
           union all
           select kind, 0, 0, 1 from (
             select kind, error from core.jobs_dead where died_at > $2
             order by died_at desc limit $3) as d
           where error = 'stalled'
         ) as e
         group by kind"#,
        (now - DAY) as _,
        (now - 7 * DAY) as _,
        DEAD_MAX,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(rows)
}

async fn paused(tx: &mut PlatformTx) -> Result<BTreeMap<String, Pause>> {
    let rows = sqlx::query!("select name, paused_at, paused_by from core.paused_queues")
        .fetch_all(tx.db())
        .await?;
    let paused = rows.into_iter().map(|row| {
        let pause = Pause { since: row.paused_at, by: row.paused_by };
        (row.name, pause)
    });
    Ok(paused.collect())
}
