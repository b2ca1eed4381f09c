//! An installation that tells all it has to tell: the log at its most talkative, metrics, every trace,
//! and the hints that nodes send each other.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use freehold_embedded_postgres::{Options, Server};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tempfile::TempDir;

use super::written::{self, Row};
use crate::process::{Start, folder};
use crate::traces::{Spans, collector};

const PATIENCE: Duration = Duration::from_secs(10);
const PLENTY: &str = "6000000";

/// The program, its PostgreSQL, and everybody who listens.
pub(super) struct Installation {
    child: Child,
    /// Where it serves.
    pub(super) url: String,
    /// For both tenants: their requests share connections.
    pub(super) http: reqwest::Client,
    metrics: String,
    spans: Spans,
    hints: Arc<Mutex<Vec<String>>>,
    superuser: PgPool,
    _postgres: Server,
    // Last: it goes once nobody runs in it any more.
    folder: TempDir,
}

impl Installation {
    pub(super) async fn start() -> Self {
        let folder = folder();
        let options = Options { durable: false, ..Options::new(folder.path().join("postgres")) };
        let postgres = tokio::task::spawn_blocking(move || Server::start(&options)).await;
        let postgres = postgres.unwrap().unwrap();
        let url = |user| postgres.url(user, "postgres");
        let (collector, spans) = collector().await;
        let environment = [
            ("DATABASE_URL", url("freehold_app")),
            ("DATABASE_OWNER_URL", url("postgres")),
            ("FREEHOLD_LOG", "trace".to_owned()),
            ("FREEHOLD_LOG_FORMAT", "json".to_owned()),
            ("FREEHOLD_METRICS", "127.0.0.1:0".to_owned()),
            ("FREEHOLD_OTLP_ENDPOINT", collector),
            ("FREEHOLD_OTLP_SHARE", "1".to_owned()),
            ("FREEHOLD_LIMIT_PER_IP_PER_MINUTE", PLENTY.to_owned()),
            ("FREEHOLD_LIMIT_PER_IP_BURST", PLENTY.to_owned()),
        ];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let data = folder.path().join("data");
        let start = Start {
            environment: &environment,
            arguments: &["--no-demo"],
            ..Start::in_folder(&data)
        };
        let log = File::create(folder.path().join("log")).unwrap();
        let (child, metrics, url) = tokio::task::block_in_place(|| run(&start, log));
        let superuser = PgPool::connect(&postgres.url("postgres", "postgres")).await.unwrap();
        written::watch(&superuser).await;
        let hints = listen(&superuser).await;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { child, url, http, metrics, spans, hints, superuser, _postgres: postgres, folder }
    }

    /// Every row that was written since the start.
    pub(super) async fn written(&self) -> Vec<Row> {
        written::read(&self.superuser).await
    }

    /// The id of a tenant as the database has it.
    pub(super) async fn uuid(&self, slug: &str) -> String {
        let query = sqlx::query_scalar("select tenant_id::text from core.tenants where slug = $1");
        query.bind(slug).fetch_one(&self.superuser).await.unwrap()
    }

    /// What nodes have told each other.
    pub(super) async fn heard(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.hints.lock().unwrap().join("\n");
            if !heard.is_empty() {
                return heard;
            }
            assert!(Instant::now() < deadline, "nobody tells other nodes of a commit");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it, and answers what operators' tools got: metrics, log, traces, each with its name.
    pub(super) async fn end(mut self) -> Vec<(&'static str, String)> {
        let metrics = self.http.get(&self.metrics).send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("/api/v1/webhooks/{id}"), "{metrics}");
        // It sends its last spans before it ends.
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(log.lines().count() > 1000, "too little was logged to prove anything");
        assert!(log.contains("/api/v1/auth/login"), "requests are logged at this level");
        let spans = self.spans.lock().unwrap().clone();
        assert!(spans.iter().any(|span| span.name == "POST to a receiver"), "{}", spans.len());
        let spans: Vec<String> = spans.iter().map(|span| format!("{span:?}")).collect();
        vec![("metrics", metrics), ("log", log), ("traces", spans.join("\n"))]
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it and reads where it serves and where its metrics are.
fn run(start: &Start<'_>, log: File) -> (Child, String, String) {
    let mut child = start.command().stderr(Stdio::from(log)).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = |prefix: &str| {
        let line = lines.find_map(|line| line.strip_prefix(prefix).map(ToOwned::to_owned));
        line.unwrap_or_else(|| panic!("it ended before it said: {prefix}"))
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let (metrics, url) = (said("Metrics are at "), said("Freehold is ready at "));
    (child, metrics, url)
}

/// Hears what nodes send each other.
async fn listen(superuser: &PgPool) -> Arc<Mutex<Vec<String>>> {
    let mut listener = PgListener::connect_with(superuser).await.unwrap();
    listener.listen("freehold").await.unwrap();
    let hints = Arc::<Mutex<Vec<String>>>::default();
    let kept = hints.clone();
    tokio::spawn(async move {
        while let Ok(hint) = listener.recv().await {
            kept.lock().unwrap().push(hint.payload().to_owned());
        }
    });
    hints
}
