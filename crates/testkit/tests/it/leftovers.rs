//! What has expired or was given up long ago is swept; everything else stays.

use freehold_testkit::TestApp;

use crate::due::tick;
use crate::fixture;
use crate::stream::{count, run};

#[tokio::test]
async fn claims_that_have_expired_are_free_again_and_all_others_are_kept() {
    let app = TestApp::start([fixture::module()]).await;
    app.tenant("Acme").await;
    // More than one batch.
    run(
        &app,
        "insert into core.claims (kind, key_hash, tenant_id, subject_id, expires_at)
         select 'token', sha256(n::text::bytea), tenant_id, gen_random_uuid(),
           case n when 1 then null when 2 then now() + interval '1 hour' else now() - n * interval '1 s' end
         from core.tenants, generate_series(1, 2500) n",
    )
    .await;
    tick(&app, "core.forget_claims").await;
    let tokens = "select count(*) from core.claims where kind = 'token'";
    assert_eq!(count(&app, tokens).await, 2);
    let slugs = "select count(*) from core.claims where kind <> 'token'";
    assert!(count(&app, slugs).await > 0, "a claim that never expires is kept");
}

#[tokio::test]
async fn what_was_given_up_a_week_ago_is_forgotten_and_what_was_given_up_since_is_kept() {
    let app = TestApp::start([fixture::module()]).await;
    run(
        &app,
        "insert into core.jobs_dead
           (id, lane, kind, tenant_id, queue, payload, attempts, crashes, error, created_at, died_at)
         select gen_random_uuid(), 1, 'x', gen_random_uuid(), 'x', '{}', 1, 0, 'x', now(),
           now() - n * interval '1 hour'
         from generate_series(1, 1300) n;
         insert into core.outbox_dead (subscriber, event_id, tenant_id, event_at, error, died_at)
         select 'x', gen_random_uuid(), gen_random_uuid(), now(), 'x', now() - n * interval '1 hour'
         from generate_series(1, 1300) n",
    )
    .await;
    tick(&app, "core.forget_dead_jobs").await;
    tick(&app, "core.forget_dead_events").await;
    // 168 hours are a week, and the last of them is not quite over.
    for old in ["core.jobs_dead", "core.outbox_dead"] {
        let kept = format!("select count(*), max(now() - died_at) < '7 days 5 min' from {old}");
        let kept: (i64, bool) =
            sqlx::query_as(sqlx::AssertSqlSafe(kept)).fetch_one(app.sql()).await.unwrap();
        assert_eq!(kept, (167, true), "{old}");
    }
}

#[tokio::test]
async fn jobs_that_were_done_are_kept_for_a_day_and_then_dropped_with_all_of_theirs() {
    let app = TestApp::start([fixture::module()]).await;
    let days = "select count(*) from pg_inherits where inhparent = 'core.jobs_done'::regclass";
    let made = count(&app, days).await;
    assert_eq!(made, 9, "yesterday, today and a week ahead");
    run(
        &app,
        "create table core.jobs_done_2020_02_29 partition of core.jobs_done
           for values from ('2020-02-29 00:00+00') to ('2020-03-01 00:00+00');
         alter table core.jobs_done_2020_02_29 owner to freehold_owner;
         insert into core.jobs_done (id, lane, kind, tenant_id, queue, priority, payload, attempts,
           created_at, finished_at)
         select gen_random_uuid(), 1, 'x', gen_random_uuid(), 'x', 1, '{}', 1, at, at
         from (values ('2020-02-29 12:00+00'::timestamptz), (now() - interval '20 hours'), (now()))
           as done (at)",
    )
    .await;
    tick(&app, "core.job_days").await;
    assert_eq!(count(&app, days).await, made);
    let old = "select count(*) from core.jobs_done where finished_at < now() - interval '2 days'";
    assert_eq!(count(&app, old).await, 0);
    assert_eq!(count(&app, "select count(*) from core.jobs_done").await, 2);
}
