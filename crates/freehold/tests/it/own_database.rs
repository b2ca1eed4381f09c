//! The commands that need no `up`, and `up` on a database that somebody else runs.

use std::process::{Command, Output};

use freehold_embedded_postgres::{Options, Server};

use crate::process::{Start, folder};

#[test]
fn the_document_is_printed_without_a_database() {
    let printed = freehold(&["openapi"], &[]);
    assert!(printed.status.success(), "{}", told(&printed));
    let document: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/api/v1/auth/register"]["post"].is_object());
}

#[test]
fn migrate_asks_for_the_one_variable_that_it_needs() {
    let refused = freehold(&["migrate"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("DATABASE_OWNER_URL"), "{}", told(&refused));
}

#[test]
fn a_database_of_ones_own_is_migrated_and_then_served_from() {
    let folder = folder();
    let postgres =
        Server::start(&Options { durable: false, ..Options::new(folder.path().join("postgres")) })
            .unwrap();
    let owner = postgres.url("postgres", "postgres");
    let app = postgres.url("freehold_app", "postgres");

    let data = folder.path().join("data");
    let mut early = Start::in_folder(&data).command();
    let early = early.env("DATABASE_URL", &app).output().unwrap();
    assert_eq!(early.status.code(), Some(1), "there are no roles yet");
    assert!(told(&early).contains("DATABASE_URL"), "{}", told(&early));

    let first = freehold(&["migrate"], &[("DATABASE_OWNER_URL", &owner)]);
    assert!(first.status.success(), "{}", told(&first));
    let did = String::from_utf8(first.stdout).unwrap();
    assert!(
        did.contains("core: ") && did.contains("identity: ") && did.contains("ran now"),
        "{did}"
    );
    let again = freehold(&["migrate"], &[("DATABASE_OWNER_URL", &owner)]);
    let did = String::from_utf8(again.stdout).unwrap();
    assert!(did.lines().all(|line| line.contains("nothing to do")), "{did}");

    let environment = [("DATABASE_URL", app.as_str())];
    let running = Start { environment: &environment, ..Start::in_folder(&data) }.run();
    assert!(running.said.contains("operator@"), "{}", running.said);
    assert!(running.stop().success());
    assert!(!data.join("cluster").exists(), "no PostgreSQL of our own beside it");

    // Another folder on the same database: its passwords would not be anybody's.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(data.join("secret.key"), other.join("secret.key")).unwrap();
    let second = Start { environment: &environment, ..Start::in_folder(&other) }.run();
    assert!(!second.said.contains('@'), "{}", second.said);
    assert!(second.stop().success());
    postgres.stop().unwrap();
}

fn freehold(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.env_remove("DATABASE_OWNER_URL").current_dir(folder.path());
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
