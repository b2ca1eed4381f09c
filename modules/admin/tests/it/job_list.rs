//! Operators look through jobs.

use std::sync::atomic::Ordering;

use freehold_kernel::JobId;
use serde_json::{Value, json};

use crate::rows::{a_dead_job, a_foreign_job, pages};
use crate::work::{Act, JOBS, Stage};

fn ids(page: &Value) -> Vec<String> {
    page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Newest first.
fn newest(jobs: &[JobId]) -> Vec<String> {
    let mut ids: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    ids.sort();
    ids.reverse();
    ids
}

#[tokio::test]
async fn jobs_of_every_state_are_paged_without_gap_or_repetition() {
    let stage = Stage::set().await;
    let mut made: Vec<(&str, Vec<JobId>)> = Vec::new();
    for state in ["waiting", "delayed", "active"] {
        let mut jobs = Vec::new();
        for _ in 0..5 {
            jobs.push(a_foreign_job(&stage.app, &stage.acme, state).await);
        }
        made.push((state, jobs));
    }
    for state in ["failed", "cancelled"] {
        let mut jobs = Vec::new();
        for _ in 0..5 {
            jobs.push(a_dead_job(&stage.app, &stage.acme, "work.act", state, "x").await);
        }
        made.push((state, jobs));
    }
    let mut done = Vec::new();
    for _ in 0..5 {
        let job = stage.ask(&Act::new("x")).await;
        stage.becomes(job, "completed").await;
        done.push(job);
    }
    made.push(("completed", done));
    for (state, jobs) in made {
        let path = format!("{JOBS}?state={state}");
        let all = stage.operator.get(&path).await;
        assert_eq!(ids(all.expect(200).json()), newest(&jobs), "{state}");
        let states = all.json()["data"].as_array().unwrap().iter();
        assert!(states.into_iter().all(|job| job["state"] == state), "{all}");
        let pages = pages(&stage.operator, &format!("{path}&limit=2")).await;
        let found: Vec<String> = pages.iter().flat_map(|page| ids(page.json())).collect();
        assert_eq!((pages.len(), found), (3, newest(&jobs)), "{state}, page by page");
    }
}

#[tokio::test]
async fn lists_are_filtered_by_state_kind_lane_and_tenant() {
    let stage = Stage::set().await;
    let other = stage.app.tenant("Other").await;
    let mine = a_dead_job(&stage.app, &stage.acme, "work.act", "failed", "x").await;
    let theirs = a_dead_job(&stage.app, &other, "work.act", "failed", "x").await;
    let quick = a_dead_job(&stage.app, &other, "work.quick", "failed", "x").await;
    let cancelled = a_dead_job(&stage.app, &other, "work.quick", "cancelled", "x").await;
    let foreign = a_foreign_job(&stage.app, &other, "active").await;
    let of_other = format!("?tenantId={}", other.id);
    for (query, expected) in [
        ("", vec![mine, theirs, quick]),
        ("?state=failed&kind=work.act", vec![mine, theirs]),
        (&of_other, vec![theirs, quick]),
        (&format!("{of_other}&kind=work.act&lane=standard"), vec![theirs]),
        ("?lane=bulk", vec![]),
        ("?kind=work", vec![]),
        ("?kind=%25", vec![]),
        ("?state=cancelled", vec![cancelled]),
        ("?state=active&lane=bulk&kind=work.former", vec![foreign]),
        ("?state=active&lane=standard", vec![]),
        ("?state=completed", vec![]),
    ] {
        let found = stage.operator.get(&format!("{JOBS}{query}")).await;
        assert_eq!(ids(found.expect(200).json()), newest(&expected), "{query}");
    }
    for (query, field) in [
        ("?state=dead", "state"),
        ("?state=", "state"),
        ("?lane=fast", "lane"),
        ("?tenantId=acme", ""),
        ("?state=failed&state=active", "state"),
        ("?queue=standard", "queue"),
    ] {
        stage.operator.get(&format!("{JOBS}{query}")).await.invalid(field);
    }
    let first = stage.operator.get(&format!("{JOBS}?limit=1")).await;
    let cursor = first.expect(200).text_of("nextCursor").to_owned();
    let elsewhere = stage.operator.get(&format!("{JOBS}?limit=1&lane=bulk&cursor={cursor}")).await;
    elsewhere.invalid("cursor");
}

#[tokio::test]
async fn a_search_is_on_record_once_where_the_operators_are() {
    let stage = Stage::set().await;
    for _ in 0..5 {
        a_dead_job(&stage.app, &stage.acme, "work.act", "failed", "x").await;
    }
    let path = format!("{JOBS}?kind=work.act&tenantId={}&limit=2", stage.acme.id);
    let first = stage.operator.get(&path).header("freehold-reason", "ticket 4711").await;
    let cursor = first.expect(200).text_of("nextCursor").to_owned();
    stage.operator.get(&format!("{path}&cursor={cursor}")).await.expect(200);
    assert_eq!(stage.count(&stage.platform, "job.listed").await, 1);
    let event = stage.app.last_event(&stage.platform).await;
    assert_eq!(event.actor, stage.platform.owner.to_string());
    let filter = json!({
        "state": "failed", "kind": "work.act", "lane": null, "tenantId": stage.acme.id,
    });
    assert_eq!(event.data["filter"], filter);
    assert_eq!(stage.app.opened(&event).await["reason"], "ticket 4711");
    assert_eq!(
        stage.app.events(&stage.acme).await.len(),
        1,
        "the tenant hears of looks at one job"
    );
    stage.operator.get(&format!("{JOBS}?state=dead")).await.expect(422);
    assert_eq!(stage.count(&stage.platform, "job.listed").await, 1);
    assert_eq!(stage.watch().runs.load(Ordering::SeqCst), 0);
}
