//! Makes a schedule of the kernel's tick now rather than in an hour.

use std::time::Duration;

use freehold_testkit::TestApp;

use crate::stream::within;

/// Has a schedule tick once more, and waits until it has: whatever a test has put there before is
/// seen by that tick.
pub(crate) async fn tick(app: &TestApp, schedule: &'static str) {
    // The first tick of a new application is under way by itself.
    rests(app, schedule).await;
    sqlx::query("update core.schedules set next_at = '-infinity' where name = $1")
        .bind(schedule)
        .execute(app.sql())
        .await
        .unwrap();
    rests(app, schedule).await;
}

/// Waits until a schedule rests. One with more to do than fits into a batch does not.
pub(crate) async fn rests(app: &TestApp, schedule: &'static str) {
    within(Duration::from_secs(20), schedule, async || {
        let rests = "select count(*) from core.schedules
             where name = $1 and next_at > clock_timestamp()";
        let rests = sqlx::query_scalar::<_, i64>(rests).bind(schedule);
        (rests.fetch_one(app.sql()).await.unwrap() == 1).then_some(())
    })
    .await;
}
