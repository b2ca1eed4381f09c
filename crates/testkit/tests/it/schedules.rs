//! Schedules: one node runs each tick, and a broken one stops nothing.

use std::time::Duration;

use freehold_kernel::{Error, Result, SystemTx};
use freehold_testkit::TestApp;

use crate::stream::{count, counts, run, ticking};

const HOUR: Duration = Duration::from_secs(3600);
const TICKS: &str = "select count(*) from fixture.ticks";
const DUE: &str =
    "update core.schedules set next_at = clock_timestamp() where name = 'fixture.tick'";
const MOVED_ON: &str = "select count(*) from core.schedules
   where name = 'fixture.tick' and next_at > clock_timestamp()";

async fn tick(tx: &mut SystemTx) -> Result<()> {
    sqlx::query("insert into fixture.ticks values (statement_timestamp())")
        .execute(tx.db())
        .await?;
    Ok(())
}

#[tokio::test]
async fn of_two_nodes_one_runs_each_tick() {
    let app = TestApp::start([ticking(HOUR, |tx| Box::pin(tick(tx)))]).await;
    let other = TestApp::with([ticking(HOUR, |tx| Box::pin(tick(tx)))]).beside(&app).start().await;
    for number in 1..=3 {
        counts(&other, TICKS, number).await;
        counts(&other, MOVED_ON, 1).await;
        // The other node has looked once more by the time both have been woken.
        run(&app, DUE).await;
    }
    counts(&app, TICKS, 4).await;
}

#[tokio::test]
async fn a_tick_that_panics_is_put_off_and_the_node_lives() {
    let app = TestApp::start([ticking(HOUR, |tx| {
        Box::pin(async move {
            tick(tx).await?;
            if tx.real_now().unix_seconds() % 2 == 0 {
                return Err(Error::internal("a tick fails"));
            }
            panic!("a tick panics")
        })
    })])
    .await;
    counts(
        &app,
        "select count(*) from core.schedules where name = 'fixture.tick'
           and next_at - clock_timestamp() between interval '20 s' and interval '30 s'",
        1,
    )
    .await;
    assert_eq!(count(&app, TICKS).await, 0);
    run(&app, "update core.schedules set next_at = '-infinity'").await;
    counts(&app, "select count(*) from core.schedules where next_at < clock_timestamp()", 0).await;
}
