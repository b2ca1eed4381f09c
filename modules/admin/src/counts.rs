//! How much waits, runs and ended: three questions to the database, each with a bound on what it costs.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_kernel::{App, Most, PlatformTx, Result};

use crate::queue_list::Facts;
use crate::queues::Pause;

/// How far jobs are counted.
const MOST: Most = Most { queues: 10_000, of_each: 10_000, waiting: 500_000, others: 500_000 };
/// Among so many jobs that were given up last, those that stalled are looked for.
const DEAD_MAX: i64 = 100_000;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
        lanes: app.lanes(),
        kinds: app.kinds(),
        backlog: tx.backlog(MOST).await?,
        ends: ends(tx).await?,
        paused: paused(tx).await?,
    })
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
