//! Many tasks for two tenants in turn on eight connections, breaking off in every way: nobody ever
//! sees a wrong row, directly and by way of PgBouncer.
//!
//! `FREEHOLD_SEED` says what each of the tasks does; every run prints its own.

use std::process::Command;
use std::time::{Duration, SystemTime};

use freehold_proof::tasks::{self, Party, Plan};
use freehold_testkit::TestApp;

use crate::life::modules;

const TASKS: u64 = 64;
const THIS: &str = "many_tasks::";

/// The real application with the proof's module.
async fn prove(rounds: u64, at_most: Duration) {
    let app = TestApp::with(modules().into_iter().chain([tasks::module()])).config(|config| {
        config.pool_size = 8;
        config.limits.request_timeout = Duration::from_secs(1);
    });
    let app = app.start().await;
    let mut parties = Vec::new();
    for name in ["Acme", "Umbrella", "Initech"] {
        let tenant = app.tenant(name).await;
        let bearer = app.principal(&tenant).everything().token().to_owned();
        parties.push(Party { tenant: tenant.id, bearer });
    }
    let plan = Plan { parties, tasks: TASKS, rounds, at_most, seed: seed() };
    let outcome = tasks::run(&app.subject(), &plan).await.unwrap();
    println!("{outcome}");
    assert!(outcome.report.findings.is_empty(), "{outcome}");
    assert_eq!(outcome.acts.len(), 18, "something was never done: {outcome}");
    assert!(outcome.rows_seen > 10 * TASKS && outcome.rows_kept > TASKS, "{outcome}");
    assert!(outcome.turned_away * 20 < outcome.report.tried, "{outcome}");
}

/// The one that is asked for, or a new one.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var("FREEHOLD_SEED").ok().and_then(|seed| seed.parse().ok());
    let moment = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    asked.unwrap_or_else(|| u64::from(moment))
}

/// Runs one of these tests once more, in a process whose databases are behind PgBouncer.
fn by_way_of_pgbouncer(test: &str) {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{THIS}{test}"), "--exact", "--nocapture", "--include-ignored"])
        .env("FREEHOLD_TEST_POOLER", "transaction")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("by way of PgBouncer:\n{said}");
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_break_off_in_every_way_see_no_wrong_row() {
    prove(u64::MAX, Duration::from_secs(7)).await;
}

#[test]
fn the_same_tasks_see_no_wrong_row_by_way_of_pgbouncer() {
    by_way_of_pgbouncer("tasks_that_break_off_in_every_way_see_no_wrong_row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "640,000 transactions, part of make check-long"]
async fn long_tasks_that_break_off_in_every_way_see_no_wrong_row() {
    prove(10_000, Duration::from_secs(60 * 60)).await;
}

#[test]
#[ignore = "640,000 transactions, part of make check-long"]
fn long_tasks_see_no_wrong_row_by_way_of_pgbouncer() {
    by_way_of_pgbouncer("long_tasks_that_break_off_in_every_way_see_no_wrong_row");
}
