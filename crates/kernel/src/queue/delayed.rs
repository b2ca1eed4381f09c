//! Jobs whose time has come begin to wait.

use super::Lane;
use crate::app::App;
use crate::error::Result;
use crate::tx::SystemTx;

/// How many begin to wait in one transaction.
const AT_ONCE: i64 = 5_000;

/// Lets those whose time has come wait, in its order and behind what waits already. Answers whether
/// there may be more.
pub(crate) async fn promote(app: &App, tx: &mut SystemTx) -> Result<bool> {
    let promoted = sqlx::query_scalar!(
        "with due as (
           select id, run_at from core.jobs
           where state = 'delayed' and run_at <= statement_timestamp()
           order by run_at, id limit $1 for update skip locked
         ), placed as (
           select id, row_number() over (order by run_at, id) as place from due
         )
         update core.jobs j
         set state = 'waiting', run_at = statement_timestamp() + place * interval '1 microsecond'
         from placed where j.id = placed.id returning j.lane",
        AT_ONCE,
    )
    .fetch_all(tx.db())
    .await?;
    for lane in Lane::ALL.into_iter().filter(|lane| promoted.contains(&lane.number())) {
        app.queue().sweep_lane(app, lane);
    }
    Ok(i64::try_from(promoted.len()).is_ok_and(|count| count == AT_ONCE))
}
