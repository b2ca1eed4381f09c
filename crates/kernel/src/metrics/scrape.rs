//! What is read when somebody asks: queues, pools, the process. However often that is, the database
//! is asked once in five seconds.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::lane_name;
use super::process::Process;
use crate::app::App;
use crate::database::{Backlog, PoolState};
use crate::error::{Error, Result};

/// Depths are counted up to this; what lies beyond is as alarming and costs more to count.
const BACKLOG_MAX: i64 = 10_000;
/// How long an answer about the queues is good enough.
const FRESH: Duration = Duration::from_secs(5);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Asks about the queues, and remembers the answer for a while.
#[derive(Default)]
pub(crate) struct Reader(Mutex<Option<(Instant, Option<Arc<Backlog>>)>>);

impl Reader {
    /// What waits. `None` while the database does not say; those who ask at once share one answer.
    pub(crate) async fn backlog(&self, app: &App) -> Option<Arc<Backlog>> {
        let mut known = self.0.lock().await;
        if let Some((at, backlog)) = &*known
            && at.elapsed() < FRESH
        {
            return backlog.clone();
        }
        let backlog = match read(app).await {
            Ok(backlog) => Some(Arc::new(backlog)),
            Err(error) => {
                tracing::warn!(%error, "the depth of the queues could not be read");
                None
            }
        };
        *known = Some((Instant::now(), backlog.clone()));
        backlog
    }
}

async fn read(app: &App) -> Result<Backlog> {
    let subscribers: Vec<&str> = app.subscribers().iter().map(|s| s.name).collect();
    let kinds: Vec<&str> = app.job_kinds().map(|kind| kind.name).collect();
    let reading = app.database().backlog(&subscribers, &kinds, BACKLOG_MAX);
    tokio::time::timeout(PATIENCE, reading).await.map_err(Error::internal)?
}

impl App {
    /// Everything that this node measures, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// When the text cannot be written, which would be a fault of ours.
    pub async fn scrape(&self) -> Result<String> {
        let seen = Seen {
            backlog: self.metrics().reader().backlog(self).await,
            pools: self.database().pools(),
            process: Process::read(),
        };
        let mut now = Registry::default();
        now.register_collector(Box::new(seen));
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.metrics().registry)
            .and_then(|()| encode_registry(&mut text, &now))
            .and_then(|()| encode_eof(&mut text));
        written.map_err(Error::internal)?;
        Ok(text)
    }

    /// Answers `GET /metrics` on this socket until the application stops. It asks nobody who they
    /// are: let nobody reach it but those who collect.
    pub fn serve_metrics(self: &Arc<Self>, listener: TcpListener) {
        let router = Router::new().route("/metrics", get(metrics)).with_state(self.clone());
        self.run(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "metrics are no longer served");
            }
        });
    }
}

type Page = ([(header::HeaderName, &'static str); 1], String);

async fn metrics(State(app): State<Arc<App>>) -> std::result::Result<Page, String> {
    let text = app.scrape().await.map_err(|error| error.to_string())?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

/// What one scrape found.
#[derive(Debug)]
struct Seen {
    backlog: Option<Arc<Backlog>>,
    pools: [PoolState; 2],
    process: Option<Process>,
}

impl Collector for Seen {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut lines = Lines(&mut encoder);
        let answers = i64::from(self.backlog.is_some());
        lines.one("freehold_database_answers", "Whether the database said what waits", &answers)?;
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
        lines.gauges("freehold_build", "Which release this is", version)?;
        pools(&mut lines, &self.pools)?;
        if let Some(backlog) = &self.backlog {
            queues(&mut lines, backlog)?;
        }
        self.process.as_ref().map_or(Ok(()), |seen| process(&mut lines, seen))
    }
}

fn pools(lines: &mut Lines<'_, '_>, pools: &[PoolState; 2]) -> fmt::Result {
    let connections = pools.iter().flat_map(|pool| {
        let row = |state, count: u32| ([("pool", pool.name), ("state", state)], count);
        [row("used", pool.size.saturating_sub(pool.idle)), row("idle", pool.idle)]
    });
    lines.gauges("freehold_db_connections", "Connections to the database", connections)?;
    let most = pools.iter().map(|pool| ([("pool", pool.name)], pool.max));
    lines.gauges("freehold_db_connections_max", "Connections there may be", most)?;
    let waits = pools.iter().map(|pool| ([("pool", pool.name)], pool.waits));
    let help = "Transactions that had to wait for a connection, or for a new one";
    lines.counters("freehold_db_waits", help, waits)
}

fn queues(lines: &mut Lines<'_, '_>, backlog: &Backlog) -> fmt::Result {
    let jobs = backlog.jobs.iter().map(|row| {
        let lane = lane_name(row.lane);
        ([("lane", lane), ("kind", &row.kind), ("state", &row.state)], row.count)
    });
    let help = "Jobs that wait, are delayed, or run; counted up to 10000 for each queue";
    lines.gauges("freehold_jobs", help, jobs)?;
    let ages = backlog.jobs.iter().filter_map(|row| {
        Some(([("lane", lane_name(row.lane)), ("kind", row.kind.as_str())], row.oldest_seconds?))
    });
    lines.gauges("freehold_jobs_oldest_seconds", "How long the oldest has been due", ages)?;
    let events = backlog.outbox.iter().map(|row| ([("subscriber", &row.subscriber)], row.count));
    let help = "Events that a subscriber has not handled yet; counted up to 10000";
    lines.gauges("freehold_outbox_events", help, events)?;
    let ages =
        backlog.outbox.iter().map(|row| ([("subscriber", &row.subscriber)], row.oldest_seconds));
    lines.gauges("freehold_outbox_oldest_seconds", "How old the oldest of them is", ages)
}

fn process(lines: &mut Lines<'_, '_>, process: &Process) -> fmt::Result {
    let resident = process.resident_bytes;
    lines.one("process_resident_memory_bytes", "Memory in use", &resident)?;
    lines.one("process_open_fds", "Open file descriptors", &process.open_files)?;
    let cpu: [([(&str, &str); 0], f64); 1] = [([], process.cpu_seconds)];
    lines.counters("process_cpu_seconds", "Processor time used", cpu)
}

/// Writes series by name.
struct Lines<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Lines<'_, '_> {
    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn one(&mut self, name: &str, help: &str, value: &impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
    }

    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, V, f64>(&value, None)?;
        }
        Ok(())
    }
}
