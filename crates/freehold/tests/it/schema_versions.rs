//! Programs and schemas of different releases: which go together, and what the others say.

use std::path::Path;

use freehold_testkit::TestApp;
use sqlx::types::Uuid;

use crate::life;
use crate::process::{Ran, folder, run};

const KEY: &str = "a secret that only tests may know";

/// Tries to start a node over the application's database.
fn start(app: &TestApp, folder: &Path, arguments: &[&str]) -> Ran {
    let (url, system) = (app.database_url("freehold_app"), app.database_url("freehold_system"));
    on(folder, arguments, &url, &system)
}

fn on(folder: &Path, arguments: &[&str], url: &str, system: &str) -> Ran {
    let environment = [
        ("DATABASE_URL", url),
        ("DATABASE_SYSTEM_URL", system),
        ("FREEHOLD_SECRET_KEY", KEY),
        ("FREEHOLD_PUBLIC_URL", "https://app.example.com"),
        ("FREEHOLD_POOL_SIZE", "2"),
        ("FREEHOLD_METRICS", "off"),
    ];
    run(folder, arguments, &environment)
}

const NODES: [&[&str]; 2] = [&["serve", "--listen", "127.0.0.1:0"], &["work"]];

async fn execute(app: &TestApp, sql: &'static str) {
    sqlx::raw_sql(sql).execute(app.sql()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_older_than_the_program_is_refused_with_both_versions_and_what_to_do() {
    let (app, folder) = (life::app().await, folder());
    execute(
        &app,
        "delete from identity._migrations where version > 1;
         update core.releases set version = '0.0.9'",
    )
    .await;
    for arguments in NODES {
        let Ran { code, complaint, .. } = start(&app, folder.path(), arguments);
        assert_eq!(code, 1);
        for word in ["0.0.9", env!("CARGO_PKG_VERSION"), "identity has 1 of", "freehold migrate"] {
            assert!(complaint.contains(word), "{word}: {complaint}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_schema_is_told_from_an_old_one() {
    let (app, folder) = (life::app().await, folder());
    let id = Uuid::now_v7().simple().to_string();
    let name = format!("t_{}", &id[id.len() - 12..]);
    let make = sqlx::AssertSqlSafe(format!("create database {name}"));
    sqlx::raw_sql(make).execute(app.sql()).await.unwrap();
    let ours: String =
        sqlx::query_scalar("select current_database()").fetch_one(app.sql()).await.unwrap();
    let url = |role| app.database_url(role).replace(&ours, &name);
    let refused = on(folder.path(), NODES[1], &url("freehold_app"), &url("freehold_system"));
    let remove = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
    sqlx::raw_sql(remove).execute(app.sql()).await.unwrap();
    assert_eq!(refused.code, 1);
    assert!(refused.complaint.contains("is empty"), "{}", refused.complaint);
    assert!(refused.complaint.contains("freehold migrate"), "{}", refused.complaint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_works_on_the_schema_of_the_next_release() {
    let app = life::app().await;
    let column = "alter table core.users add column next text not null default 'x'";
    execute(&app, column).await;
    execute(
        &app,
        "insert into core.releases (number, version)
           select max(number) + 1, '0.99.0' from core.releases;
         insert into core._migrations (version, description, success, checksum, execution_time)
           values (9999, 'next', true, '', 0)",
    )
    .await;
    let modules = freehold::modules(Default::default(), life::egress());
    let beside = TestApp::with(modules).beside(&app).start().await;
    let life = life::live(&beside, "Acme").await;
    life.owner.get("/api/v1/tenant").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_two_releases_newer_is_refused_by_everything_and_changed_by_nothing() {
    let (app, folder) = (life::app().await, folder());
    execute(
        &app,
        "insert into core.releases (number, version)
           select max(number) + 2, '0.99.0' from core.releases",
    )
    .await;
    for arguments in NODES {
        let Ran { code, complaint, .. } = start(&app, folder.path(), arguments);
        assert_eq!(code, 1);
        for word in ["0.99.0", env!("CARGO_PKG_VERSION"), "freehold migrate"] {
            assert!(complaint.contains(word), "{word}: {complaint}");
        }
    }
    let owner = app.database_url("postgres");
    let refused = run(folder.path(), &["migrate"], &[("DATABASE_OWNER_URL", &owner)]);
    assert_eq!(refused.code, 1);
    assert!(refused.complaint.contains("0.99.0"), "{}", refused.complaint);
    let environment = [
        ("DATABASE_URL", &*app.database_url("freehold_app")),
        ("DATABASE_SYSTEM_URL", &app.database_url("freehold_system")),
        ("DATABASE_OWNER_URL", &owner),
        ("FREEHOLD_SECRET_KEY", KEY),
    ];
    let refused = run(folder.path(), &["up", "--listen", "127.0.0.1:0"], &environment);
    assert_eq!(refused.code, 1);
    assert!(refused.complaint.contains("0.99.0"), "{}", refused.complaint);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_notes_the_release() {
    let (app, folder) = (life::app().await, folder());
    execute(&app, "delete from core.releases").await;
    let owner = app.database_url("postgres");
    let migrated = run(folder.path(), &["migrate"], &[("DATABASE_OWNER_URL", &owner)]);
    assert_eq!(migrated.code, 0, "{}", migrated.complaint);
    let noted: String =
        sqlx::query_scalar("select version from core.releases").fetch_one(app.sql()).await.unwrap();
    assert_eq!(noted, env!("CARGO_PKG_VERSION"));
}
