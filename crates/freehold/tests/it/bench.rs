//! `freehold bench` as an operator runs it: what it reports, what it refuses, and that nothing of
//! it is left, however it ends. The figures themselves are not judged: this is a debug build.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use freehold_embedded_postgres::{Options, Server};
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::process::{Freehold, Start, folder};

const KINDS: [&str; 3] = ["http", "webhooks", "jobs"];
/// Enough for each of them.
const SCOPES: [&str; 5] =
    ["tenants:read", "events:write", "webhooks:read", "webhooks:write", "webhooks:delete"];
/// Limits that no test reaches.
const PLENTY: [(&str, &str); 4] = [
    ("FREEHOLD_LIMIT_PER_IP_PER_MINUTE", "100000000"),
    ("FREEHOLD_LIMIT_PER_IP_BURST", "100000000"),
    ("FREEHOLD_LIMIT_PER_TENANT_PER_MINUTE", "100000000"),
    ("FREEHOLD_LIMIT_PER_TENANT_BURST", "100000000"),
];
const PATIENCE: Duration = Duration::from_secs(60);

/// The command, with everything temporary in one folder.
fn bench(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.arg("bench").args(arguments).current_dir(temporary).env("TMPDIR", temporary);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A short run; its report.
fn report(temporary: &Path, kind: &str, arguments: &[&str]) -> Value {
    let short = [kind, "--seconds", "1", "--rounds", "1", "--connections", "4", "--json"];
    let batch: &[&str] = if kind == "http" { &[] } else { &["--batch", "10"] };
    let ran = bench(temporary, &[&short, batch, arguments].concat()).output().unwrap();
    assert!(ran.status.success(), "{kind}: {}", told(&ran));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn told(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{error}")
}

/// What every report must hold, whichever installation it is about.
fn check(kind: &str, report: &Value) {
    assert_eq!(report["bench"], kind);
    assert_eq!(report["freehold"], env!("CARGO_PKG_VERSION"));
    assert!(report["machine"]["cores"].as_u64() >= Some(1), "{report}");
    assert_eq!(report["settings"]["seconds"], 1);
    assert_eq!(report["errors"], json!({"total": 0, "byCode": {}}));
    let figures = report["figures"].as_array().unwrap();
    assert!(figures.len() >= 6, "{report}");
    for figure in figures {
        let meaning = figure["meaning"].as_str().unwrap();
        assert!(meaning.len() > 20, "{figure}");
        // A backlog may be too small to be measured, and nothing may be left behind.
        let may_be_nothing = ["behind", "backlog"];
        let name = figure["name"].as_str().unwrap();
        if may_be_nothing.iter().all(|word| !name.contains(word)) {
            assert!(figure["median"].as_f64().unwrap() > 0.0, "{figure}");
            assert_eq!(figure["rounds"].as_array().unwrap().len(), 1);
        }
    }
    let median = |name: &str| {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.unwrap_or_else(|| panic!("no {name} in {report}"))["median"].as_f64().unwrap()
    };
    let count = |name: &str| report["counts"][name].as_u64().unwrap();
    match kind {
        "http" => {
            // One second was counted, in one round.
            assert!((median("authenticated reads") - count("reads") as f64).abs() < 0.01);
            assert!((median("audited writes") - count("writes") as f64).abs() < 0.01);
            // Half of them by the clock, whatever became of each.
            let half = count("reads") as f64 / 2.0;
            assert!((count("paced") as f64 - half).abs() <= 2.0, "{report}");
            assert!(
                median("reads at half that rate, p50") <= median("reads at half that rate, p99.9")
            );
        }
        _ => {
            assert!(count("accepted") >= 100, "{report}");
            assert_eq!(count("arrived"), count("accepted"));
            assert_eq!(count("logged"), count("accepted"));
            assert_eq!(count("copies"), 0);
        }
    }
}

fn nothing_is_left(temporary: &Path) {
    let left: Vec<_> = std::fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
    let processes = processes_on(temporary);
    assert!(processes.is_empty(), "{processes:?}");
}

/// Command lines that name the folder.
fn processes_on(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}

/// Measures a scratch installation, which must be gone then.
fn scratch(kind: &str) {
    let temporary = folder();
    let report = report(temporary.path(), kind, &[]);
    check(kind, &report);
    assert_eq!(report["installation"], "scratch");
    assert!(report["postgresql"].as_str().unwrap().starts_with(char::is_numeric), "{report}");
    let part = &report["processor"][0];
    for share in ["loadPercent", "freeholdPercent", "postgresqlPercent"] {
        assert!(part[share].as_f64().unwrap() > 0.0, "{part}");
    }
    nothing_is_left(temporary.path());
}

#[test]
fn requests_to_a_scratch_installation_are_measured_and_it_is_gone() {
    scratch("http");
}

#[test]
fn webhooks_of_a_scratch_installation_are_measured_and_it_is_gone() {
    scratch("webhooks");
}

#[test]
fn jobs_of_a_scratch_installation_are_measured_and_it_is_gone() {
    scratch("jobs");
}

#[test]
fn after_ctrl_c_a_scratch_installation_is_gone_too() {
    // While it starts, and while it is measured.
    for (moment, signal) in [("starting", Signal::INT), ("round 1", Signal::TERM)] {
        let temporary = folder();
        let mut running = bench(temporary.path(), &["http", "--seconds", "300"]).spawn().unwrap();
        let said = wait_for(&mut running, moment);
        if moment == "round 1" {
            assert!(!processes_on(temporary.path()).is_empty(), "{said}");
        }
        interrupt(&running, signal);
        let ended = running.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{}", told(&ended));
        assert!(ended.stdout.is_empty(), "no report of half a measurement");
        nothing_is_left(temporary.path());
    }
}

/// Reads what it says until a line that begins so.
fn wait_for(running: &mut Child, beginning: &str) -> String {
    let mut said = String::new();
    let mut errors = BufReader::new(running.stderr.take().unwrap());
    loop {
        let before = said.len();
        assert!(errors.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        if said[before..].starts_with(beginning) {
            // What else it says must not block it.
            std::thread::spawn(move || errors.read_to_string(&mut String::new()));
            return said;
        }
    }
}

fn interrupt(running: &Child, signal: Signal) {
    kill_process(Pid::from_raw(running.id().cast_signed()).unwrap(), signal).unwrap();
}

/// An installation that is there: `up` on a database that the test can look into.
struct There {
    freehold: Freehold,
    postgres: Server,
    client: Client,
    token: String,
    temporary: tempfile::TempDir,
    // Last: the others live in it.
    folder: tempfile::TempDir,
}

impl There {
    async fn start(limits: &[(&str, &str)]) -> Self {
        let folder = folder();
        let data = folder.path().join("postgres");
        let postgres = Server::start(&Options { durable: false, ..Options::new(data) }).unwrap();
        let owner = postgres.url("postgres", "postgres");
        let app = postgres.url("freehold_app", "postgres");
        let named = [("DATABASE_URL", app.as_str()), ("DATABASE_OWNER_URL", owner.as_str())];
        let environment = [&named, limits].concat();
        let data = folder.path().join("data");
        let start = Start { environment: &environment, ..Start::in_folder(&data) };
        let freehold = Start { arguments: &["--no-demo"], ..start }.run();
        let (client, temporary) = (Client::new(), crate::process::folder());
        let mut there =
            Self { freehold, postgres, client, token: String::new(), temporary, folder };
        let person = json!({
            "email": "ada@example.org", "password": "tarn-Kelp7-obverse", "name": "Ada",
        });
        let registered = there.post("/auth/register", person).await;
        there.token = registered["accessToken"].as_str().unwrap().to_owned();
        there
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/api/v1{path}", self.freehold.url);
        let request = self.client.post(url).bearer_auth(&self.token).json(&body);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn key(&self, scopes: &[&str]) -> String {
        let made = self.post("/api-keys", json!({"name": "bench", "scopes": scopes})).await;
        made["secret"].as_str().unwrap().to_owned()
    }

    /// Rows that a measurement has made and that can be removed.
    async fn rows(&self) -> i64 {
        let url = self.postgres.url("postgres", "postgres");
        let mut database = PgConnection::connect(&url).await.unwrap();
        let count = sqlx::query_scalar(
            "select (select count(*) from webhooks.endpoints where description like 'bench-%')
                  + (select count(*) from webhooks.deliveries)
                  + (select count(*) from core.outbox)
                  + (select count(*) from core.jobs where kind like 'webhooks.%')
                  + (select count(*) from webhooks.event_keys)",
        );
        count.fetch_one(&mut database).await.unwrap()
    }

    /// Jobs whose delivery has gone end by themselves, a moment later.
    async fn nothing_is_left(&self) {
        let began = Instant::now();
        while self.rows().await > 0 {
            assert!(began.elapsed() < PATIENCE, "{} rows are left", self.rows().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        nothing_is_left(self.temporary.path());
    }

    /// A run that must not come to a report; what it says.
    fn refused(&self, arguments: &[&str]) -> String {
        let url = ["--url", &self.freehold.url];
        let ran = bench(self.temporary.path(), &[arguments, &url].concat()).output().unwrap();
        assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
        assert!(ran.stdout.is_empty(), "{}", told(&ran));
        told(&ran)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_is_there_is_measured_and_left_as_it_was() {
    let there = There::start(&PLENTY).await;
    let key = there.key(&SCOPES).await;
    let file = there.folder.path().join("key");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let (url, at_file) = (there.freehold.url.as_str(), format!("@{}", file.display()));
    for kind in KINDS {
        let report = report(there.temporary.path(), kind, &["--url", url, "--key", &at_file]);
        check(kind, &report);
        assert_eq!(report["installation"], url);
        assert_eq!(report["settings"]["tenants"], 1);
        there.nothing_is_left().await;
    }
    let arguments = ["webhooks", "--seconds", "300", "--url", url, "--key", &key];
    let mut running = bench(there.temporary.path(), &arguments).spawn().unwrap();
    wait_for(&mut running, "round 1");
    assert!(there.rows().await > 0, "it has not begun");
    interrupt(&running, Signal::INT);
    let ended = running.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", told(&ended));
    there.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_refused_with_what_to_do() {
    let limits = [PLENTY[0], PLENTY[1], ("FREEHOLD_LIMIT_PER_TENANT_BURST", "60")];
    let there = There::start(&limits).await;
    let key = there.key(&SCOPES).await;

    let weak = there.key(&["tenants:read", "webhooks:read", "webhooks:write"]).await;
    let told = there.refused(&["http", "--key", &weak]);
    assert!(told.contains("lacks webhooks:delete."), "{told}");
    let told = there.refused(&["webhooks", "--key", &weak]);
    assert!(told.contains("lacks events:write, webhooks:delete."), "{told}");
    let told = there.refused(&["http", "--key", "fh_live_nobody"]);
    assert!(told.contains("does not know the key"), "{told}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = taken.local_addr().unwrap();
    drop(taken);
    let elsewhere = format!("http://{closed}");
    let receiver = ["--receiver", &elsewhere, "--receive-on", "127.0.0.1:0"];
    let told = there.refused(&[&["jobs", "--key", &key], &receiver[..]].concat());
    assert!(told.contains(&elsewhere) && told.contains("--receiver"), "{told}");
    there.nothing_is_left().await;

    let told = there.refused(&["http", "--key", &key, "--connections", "4"]);
    assert!(told.contains("429") && told.contains("FREEHOLD_LIMIT_PER_TENANT_BURST"), "{told}");
    there.nothing_is_left().await;

    let everything = json!({"url": "https://example.org/", "events": ["*"]});
    let hook = there.post("/webhooks", everything).await["id"].as_str().unwrap().to_owned();
    let told = there.refused(&["webhooks", "--key", &key]);
    assert!(told.contains(&hook), "{told}");
}
