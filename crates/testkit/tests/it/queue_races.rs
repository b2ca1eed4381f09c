//! Races, and other ways in which the queue once broke what it promises.

use std::sync::Arc;
use std::time::Duration;

use freehold_testkit::{Tenant, TestApp};

use crate::queue_kinds::{Chore, Log, Narrow, Once, Parcel};
use crate::queue_orders::{
    ACTIVE, CANCELLED, DONE, JOBS, Operator, Retry, acme, acme_on, ask, ask_later, beside, ids,
    narrow_node, node, settled,
};
use crate::stream::{Watch, count, counts, run, within};

/// Every node knows of a pause within a second.
const HEARD: Duration = Duration::from_millis(1_200);

fn narrow(key: usize, waits: bool) -> Narrow {
    Narrow { key: key.to_string(), ms: 0, waits }
}

/// Two jobs of one key that run until the gate opens: as many as may.
async fn held(app: &TestApp, acme: &Tenant) -> Arc<Watch> {
    let watch = Watch::of(acme);
    settled(app, 1).await;
    for _ in 0..2 {
        ask(app, acme, &[Parcel::new("k", "holds", true)]).await;
        watch.gate.reached().await;
    }
    watch
}

#[tokio::test]
async fn keys_that_were_to_move_and_do_not_go_on_where_they_are() {
    let (app, acme) = acme().await;
    settled(&app, 1).await;
    let gate = &Watch::of(&acme).gate;
    for key in 0..32 {
        ask(&app, &acme, &[narrow(key, true)]).await;
        gate.reached().await;
    }
    let other = beside(&app).await;
    // The first one has heard of the other: shards that none of its jobs is in have moved.
    within(Duration::from_secs(10), "some keys move", async || {
        (count(&app, "select count(distinct node) from core.job_shards").await == 2).then_some(())
    })
    .await;
    other.stop().await;
    settled(&app, 1).await;
    (0..32).for_each(|_| gate.open());
    counts(&app, JOBS, 0).await;
    for key in 0..32 {
        ask(&app, &acme, &[narrow(key, false)]).await;
    }
    within(Duration::from_secs(15), "all run", async || {
        (count(&app, JOBS).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn jobs_that_were_cancelled_while_they_waited_never_begin() {
    let (app, acme) = acme_on(narrow_node(4)).await;
    ask(&app, &acme, &[Chore::that("gate", "holds")]).await;
    let gate = &Watch::of(&acme).gate;
    gate.reached().await;
    ask(&app, &acme, &vec![Chore::new("waits", 1); 500]).await;
    let waiting = ids(&app, "waiting").await;
    assert_eq!(Operator(&app, &acme).cancel(waiting).await, 500);
    gate.open();
    counts(&app, JOBS, 0).await;
    let ran = Log::of(&acme).names().len() - 1;
    assert_eq!((ran, count(&app, CANCELLED).await), (0, 500));
}

#[tokio::test]
async fn a_job_in_hand_that_waits_for_its_turn_is_cancelled_at_once() {
    let (app, acme) = acme().await;
    let gate = &held(&app, &acme).await.gate;
    ask(&app, &acme, &[Parcel::new("k", "waits", true)]).await;
    counts(&app, ACTIVE, 3).await;
    let all = ids(&app, "active").await;
    Operator(&app, &acme).cancel(vec![all[2]]).await;
    counts(&app, CANCELLED, 1).await;
    (0..2).for_each(|_| gate.open());
}

#[tokio::test]
async fn a_key_is_remembered_while_its_jobs_run_however_many_others_there_are() {
    let (app, acme) = acme().await;
    held(&app, &acme).await;
    let many: Vec<Parcel> =
        (0..4_200).map(|n| Parcel::new(&n.to_string(), "other", false)).collect();
    ask(&app, &acme, &many).await;
    within(Duration::from_secs(20), "others are done", async || {
        (count(&app, JOBS).await == 2).then_some(())
    })
    .await;
    for _ in 0..5 {
        ask(&app, &acme, &[Parcel::new("k", "holds", true)]).await;
    }
    counts(&app, ACTIVE, 7).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let now = Log::of(&acme).names().iter().filter(|name| *name == "holds").count();
    assert_eq!(now, 2, "run at once");
}

#[tokio::test]
async fn many_paused_queues_do_not_stop_others() {
    let (app, acme) = acme().await;
    settled(&app, 1).await;
    Operator(&app, &acme).pause("fixture.narrow").await;
    tokio::time::sleep(HEARD).await;
    run(
        &app,
        "insert into core.jobs (id, lane, kind, tenant_id, queue, payload, run_at)
         select gen_random_uuid(), 1, 'fixture.narrow', (select min(tenant_id::text)::uuid from core.tenants),
           'fixture.narrow/' || n, jsonb_build_object('key', n::text, 'ms', 0, 'waits', false),
           clock_timestamp() from generate_series(1, 30000) n",
    )
    .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    ask_later(&app, &acme, &Chore::new("x", 0), Duration::from_millis(100)).await;
    within(Duration::from_secs(20), "runs", async || (count(&app, DONE).await == 1).then_some(()))
        .await;
}

#[tokio::test]
async fn keys_of_other_nodes_do_not_fill_what_a_node_remembers() {
    let (app, acme) = acme().await;
    settled(&app, 1).await;
    app.stop().await;
    // All keys are another node's, which lives.
    run(
        &app,
        "insert into core.nodes (id, name, release, process, lease_until)
         values ('11111111-1111-1111-1111-111111111111', 'x', 'x', '', clock_timestamp() + interval '1 h');
         update core.job_shards set node = '11111111-1111-1111-1111-111111111111'",
    )
    .await;
    let app = beside(&app).await;
    for _ in 0..3 {
        run(
            &app,
            "insert into core.jobs (id, lane, kind, tenant_id, queue, payload, run_at)
             select gen_random_uuid(), 1, 'fixture.narrow',
               (select min(tenant_id::text)::uuid from core.tenants),
               'fixture.narrow/' || gen_random_uuid(), '{}', clock_timestamp()
             from generate_series(1, 9000) n",
        )
        .await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        // The other one has done them.
        run(&app, "delete from core.jobs").await;
    }
    ask_later(&app, &acme, &Chore::new("x", 0), Duration::from_millis(100)).await;
    within(Duration::from_secs(20), "runs", async || (count(&app, DONE).await == 1).then_some(()))
        .await;
}

#[tokio::test]
async fn a_node_that_starts_hands_nothing_out_before_it_knows_what_is_paused() {
    let (app, acme) = acme().await;
    Operator(&app, &acme).pause("standard").await;
    tokio::time::sleep(HEARD).await;
    ask(&app, &acme, &[Chore::new("x", 0)]).await;
    #[allow(clippy::disallowed_methods, reason = "somebody who holds a lock from outside")]
    let mut slow = app.sql().begin().await.unwrap();
    sqlx::query("lock core.paused_queues in access exclusive mode")
        .execute(&mut *slow)
        .await
        .unwrap();
    let other = node().beside(&app).start().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    slow.commit().await.unwrap();
    assert_eq!(Log::of(&acme).names().len(), 0);
    drop(other);
}

#[tokio::test]
async fn asking_right_after_a_cancel_is_heard() {
    let (app, acme) = acme().await;
    for round in 0..30 {
        let key = round.to_string();
        ask_later(&app, &acme, &Once::new(&key, ""), Duration::from_secs(3600)).await;
        let waiting = ids(&app, "delayed").await;
        Operator(&app, &acme).cancel(waiting).await;
        ask(&app, &acme, &[Once::new(&key, "")]).await;
        counts(&app, JOBS, 0).await;
    }
    assert_eq!(Log::of(&acme).names().len(), 30);
}

#[tokio::test]
async fn a_unique_job_that_is_retried_is_still_unique() {
    let (app, acme) = acme().await;
    ask_later(&app, &acme, &Once::new("a", ""), Duration::from_secs(3600)).await;
    let waiting = ids(&app, "delayed").await;
    Operator(&app, &acme).cancel(waiting).await;
    counts(&app, CANCELLED, 1).await;
    Operator(&app, &acme).pause("standard").await;
    tokio::time::sleep(HEARD).await;
    Operator(&app, &acme).retry(Retry { limit: 10, ..Retry::default() }).await;
    ask(&app, &acme, &[Once::new("a", "")]).await;
    assert_eq!(count(&app, JOBS).await, 1);
}

#[tokio::test]
async fn transactions_that_ask_for_the_same_two_in_another_order_do_not_block_each_other() {
    let (app, acme) = acme().await;
    let other = beside(&app).await;
    Operator(&app, &acme).pause("standard").await;
    let mut failed = Vec::new();
    for round in 0..200 {
        let jobs: Vec<Once> = (0..6).map(|n| Once::new(&format!("{round}.{n}"), "")).collect();
        let back: Vec<Once> = jobs.iter().rev().cloned().collect();
        let ask = async |app: &freehold_testkit::TestApp, jobs: &[Once]| {
            let mut tx = app.kernel().tenant_tx(acme.id).await.unwrap();
            jobs.iter().for_each(|job| tx.enqueue(job).unwrap());
            tx.commit().await
        };
        let (one, two) = tokio::join!(ask(&app, &jobs), ask(&other, &back));
        failed.extend(one.err().into_iter().chain(two.err()).map(|e| e.to_string()));
    }
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
}

#[tokio::test]
async fn jobs_in_hand_that_have_not_begun_do_not_begin_once_their_key_is_paused() {
    let (app, acme) = acme().await;
    let gate = &held(&app, &acme).await.gate;
    for _ in 0..20 {
        ask(&app, &acme, &[Parcel::new("k", "waits", false)]).await;
    }
    counts(&app, ACTIVE, 22).await;
    Operator(&app, &acme).pause("fixture.parcel/k").await;
    tokio::time::sleep(HEARD).await;
    (0..2).for_each(|_| gate.open());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(Log::of(&acme).names().len(), 2);
}

#[tokio::test]
async fn a_lower_one_does_not_begin_while_a_higher_one_waits() {
    let (app, acme) = acme_on(narrow_node(4)).await;
    let (log, mut early) = (Log::of(&acme), 0);
    for round in 0..40_u64 {
        let before = log.names().len();
        let ranked = |rank, name| Chore { rank, ..Chore::new(name, 2) };
        ask(&app, &acme, &vec![ranked(0, "high"); 20]).await;
        tokio::time::sleep(Duration::from_millis(round % 20)).await;
        ask(&app, &acme, &[ranked(2, "low")]).await;
        counts(&app, JOBS, 0).await;
        let names = log.names().split_off(before);
        early += usize::from(names[20] != "low");
    }
    assert_eq!(early, 0, "of 40 began before the last higher one");
}

#[tokio::test]
async fn what_a_node_takes_as_it_stops_is_not_lost() {
    let (first, acme) = acme_on(narrow_node(256)).await;
    first.stop().await;
    for round in 0..30_u64 {
        let app = narrow_node(256).beside(&first).start().await;
        ask(&app, &acme, &vec![Chore::new("x", 0); 600]).await;
        tokio::time::sleep(Duration::from_millis(20 + round * 7 % 60)).await;
        app.stop().await;
    }
    let nobodys = "select count(*) from core.jobs j where state = 'active'
      and not exists (select from core.nodes n where n.id = j.node and n.gone_at is null)";
    let app = narrow_node(256).beside(&first).start().await;
    // What is taken back waits again, and then runs.
    within(Duration::from_secs(30), "none waits and none is nobody's", async || {
        let waiting = "select count(*) from core.jobs where state = 'waiting'";
        (count(&app, nobodys).await == 0 && count(&app, waiting).await == 0).then_some(())
    })
    .await;
    counts(&app, JOBS, 0).await;
}

#[tokio::test]
async fn those_that_become_due_at_once_begin_in_the_order_of_time() {
    let (app, acme) = acme_on(narrow_node(4)).await;
    // From the last to the first, so that it is not the order in which they were written.
    for number in (0..1_000_u32).rev() {
        let after = Duration::from_secs(4) + Duration::from_micros(number.into());
        ask_later(&app, &acme, &Chore::new(&format!("{number:04}"), 0), after).await;
    }
    let moved = "update core.jobs set run_at = statement_timestamp() + interval '1 s'
      + (payload ->> 'name')::int * interval '1 us'";
    run(&app, moved).await;
    within(Duration::from_secs(30), "all run", async || {
        (count(&app, JOBS).await == 0).then_some(())
    })
    .await;
    let names = Log::of(&acme).names();
    let back = names.windows(2).filter(|two| two[0] > two[1]).count();
    assert_eq!(back, 0, "of 1000 began before one that was due earlier");
}
