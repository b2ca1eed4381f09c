//! Schedules: what happens again and again. One node runs each due tick, because it holds the row.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::app::App;
use crate::error::Result;
use crate::housekeeping::{Left, Tick};
use crate::queue::caught;
use crate::queue::job::interval;
use crate::tx::SystemTx;

/// How long after a failed tick it is tried again, at the most.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What a tick does, in the transaction that moves the schedule on. Ticks that were missed while
/// nothing ran are skipped: the next one does their work too.
pub type ScheduleFn = for<'a> fn(&'a mut SystemTx) -> BoxFuture<'a, Result<()>>;

/// A schedule by name.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) name: &'static str,
    pub(crate) every: Duration,
    pub(crate) tick: Tick,
}

/// Makes rows for new schedules; the first tick is due at once.
pub(super) async fn register(app: &Arc<App>) -> Result<()> {
    let names: Vec<String> = app.schedules().iter().map(|s| s.name.to_owned()).collect();
    let mut tx = SystemTx::begin(app.origin()).await?;
    sqlx::query!(
        "insert into core.schedules (name, next_at)
         select name, clock_timestamp() from unnest($1::text[]) as s (name) on conflict do nothing",
        &names,
    )
    .execute(tx.db())
    .await?;
    tx.commit().await
}

/// Runs what is due, whenever something is. Apart from the pulse, which a long tick must not stop.
pub(super) async fn serve(app: Arc<App>) {
    loop {
        app.wakers().schedules.notified().await;
        for schedule in app.schedules() {
            if let Err(error) = run_one(&app, *schedule).await {
                tracing::warn!(schedule = schedule.name, %error, "a tick failed; it is tried again");
                if let Err(error) = put_off(&app, *schedule).await {
                    tracing::warn!(schedule = schedule.name, %error, "nor could it be put off");
                }
            }
        }
    }
}

/// Runs a tick if it is due and no other node is at it.
async fn run_one(app: &Arc<App>, schedule: Schedule) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    if move_on(&mut tx, schedule, schedule.every).await?
        && run_tick(app, &mut tx, schedule.tick).await? == Left::More
    {
        be_due(&mut tx, schedule).await?;
    }
    tx.commit().await
}

async fn run_tick(app: &Arc<App>, tx: &mut SystemTx, tick: Tick) -> Result<Left> {
    let mut left = Left::Nothing;
    match tick {
        Tick::Whole(tick) => caught(tick(tx)).await?,
        Tick::Batch(tick) => {
            let batch = async {
                left = tick(app, tx).await?;
                Ok(())
            };
            caught(batch).await?;
        }
    }
    Ok(left)
}

/// What failed is not tried every second.
async fn put_off(app: &Arc<App>, schedule: Schedule) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    move_on(&mut tx, schedule, schedule.every.min(RETRY_AFTER)).await?;
    tx.commit().await
}

/// The next look finds it due again: a long task lets others run between its batches.
async fn be_due(tx: &mut SystemTx, schedule: Schedule) -> Result<()> {
    sqlx::query!(
        "update core.schedules set next_at = clock_timestamp() where name = $1",
        schedule.name,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

async fn move_on(tx: &mut SystemTx, schedule: Schedule, by: Duration) -> Result<bool> {
    let due = sqlx::query!(
        "with due as (
           select name from core.schedules where name = $1 and next_at <= statement_timestamp()
           for update skip locked)
         update core.schedules s set next_at = clock_timestamp() + $2 from due where s.name = due.name",
        schedule.name,
        interval(by),
    )
    .execute(tx.db())
    .await?;
    Ok(due.rows_affected() == 1)
}
