//! `freehold prove isolation`, as whoever doubts it runs it: it finds nothing, and leaves nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use freehold_embedded_postgres::{Options, Server};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::process::{command, folder, run};

const QUICK: [&str; 5] = ["prove", "isolation", "--quick", "--seed", "7"];

#[test]
fn a_quick_proof_finds_nothing_and_leaves_nothing_behind() {
    let folder = folder();
    let place = folder.path().to_str().unwrap();
    let arguments: Vec<&str> = QUICK.into_iter().chain(["--json"]).collect();
    let ran = command(folder.path(), &arguments, &[("TMPDIR", place)]).output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    let complaint = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{said}{complaint}");
    assert_eq!(complaint, "", "what it breaks on purpose is nobody's trouble");
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document["ok"], true);
    assert_eq!(document["seed"], 7);
    let parts = document["parts"].as_array().unwrap().iter();
    let tried: BTreeMap<&str, u64> = parts
        .map(|part| (part["part"].as_str().unwrap(), part["tried"].as_u64().unwrap()))
        .collect();
    for (part, at_least) in
        [("catalogue", 30), ("tables", 200), ("routes", 1000), ("tasks", 64), ("mutants", 4)]
    {
        assert!(tried.get(part).is_some_and(|tried| *tried >= at_least), "{part}: {tried:?}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_installation_it_touches_nothing_and_goes_when_it_is_interrupted() {
    let folder = folder();
    let options = Options { durable: false, ..Options::new(folder.path().join("postgres")) };
    let postgres = Server::start(&options).unwrap();
    let owner = postgres.url("postgres", "postgres");
    let mut installation = PgConnection::connect(&owner).await.unwrap();
    let before = databases(&mut installation).await;
    let app = postgres.url("freehold_app", "postgres");
    let environment = [("DATABASE_OWNER_URL", owner.as_str()), ("DATABASE_URL", app.as_str())];
    let mut child = command(folder.path(), &QUICK, &environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains("In databases named freehold_prove_"), "{first}");
    assert!(lines.any(|line| line.starts_with("tables ")), "the second part ends");
    assert_eq!(databases(&mut installation).await.len(), before.len() + 1, "it is at work");

    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "interrupted\n");
    assert_eq!(databases(&mut installation).await, before);
    let tables = "select count(*) from pg_tables where schemaname in ('core', 'identity')";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut installation).await.unwrap();
    assert_eq!(tables, 0, "the installation's own database is as it was");

    let environment = [("DATABASE_OWNER_URL", app.as_str()), ("DATABASE_URL", app.as_str())];
    let refused = tokio::task::block_in_place(|| run(folder.path(), &QUICK, &environment));
    assert_eq!(refused.code, 1);
    assert!(refused.complaint.contains("is no superuser's login"), "{}", refused.complaint);
}

async fn databases(connection: &mut PgConnection) -> Vec<String> {
    let query = sqlx::query_scalar("select datname::text from pg_database order by 1");
    query.fetch_all(connection).await.unwrap()
}
