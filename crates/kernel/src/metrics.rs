//! What a node counts. Labels are words that the program knows before it starts: routes, kinds,
//! lanes, outcomes. Nothing that a request says can become one, so neither the number of series
//! grows with the customers nor can a label tell anything about them.

mod process;
mod scrape;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::Method;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::http::Route;
use crate::queue::Settlement;

pub(crate) use scrape::Reader;

/// Seconds; from what memory answers to what a person gives up on.
const LATENCIES: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Stands for every path that is no route's.
const NO_ROUTE: &str = "unknown";

/// Refusals by the budget that was used up.
pub(crate) static REFUSALS: Series = Series {
    name: "freehold_rate_limit_refusals",
    help: "Requests refused because a budget was used up",
    label: "policy",
};

/// Something that a module counts by how it went.
#[derive(Debug)]
pub struct Series {
    /// As in `freehold_webhook_requests`; `_total` is added.
    pub name: &'static str,
    /// What is counted, without a full stop.
    pub help: &'static str,
    /// What tells the counts apart, as in `outcome`.
    pub label: &'static str,
}

/// What this node counts.
pub struct Metrics {
    started: Instant,
    registry: Registry,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    active: Gauge,
    job_runs: Family<[(&'static str, &'static str); 3], Counter>,
    change_lag: Histogram,
    counted: Arc<Counted>,
    reader: Reader,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::new_with_constructor(latencies as fn() -> Histogram);
        registry.register(
            "http_server_request_duration_seconds",
            "Time from a request's headers to its answer; status `gone`: the client hung up",
            requests.clone(),
        );
        let active = Gauge::default();
        registry.register("http_server_active_requests", "Requests under way", active.clone());
        let job_runs = Family::default();
        registry.register("freehold_job_runs", "Runs of jobs by how they ended", job_runs.clone());
        let change_lag = latencies();
        registry.register(
            "freehold_change_lag_seconds",
            "From a change, on whichever node, until this node forgot what it made stale",
            change_lag.clone(),
        );
        let counted = Arc::<Counted>::default();
        registry.register_collector(Box::new(counted.clone()));
        let (started, reader) = (Instant::now(), Reader::default());
        Self { started, registry, requests, active, job_runs, change_lag, counted, reader }
    }
}

fn latencies() -> Histogram {
    Histogram::new(LATENCIES)
}

impl Metrics {
    /// Counts one of a series. The outcome is a word of the program's own, never of a request's.
    pub fn count(&self, series: &'static Series, outcome: &'static str) {
        self.counted.family(series).get_or_create(&[(series.label, outcome)]).inc();
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn change_heard(&self, after: Duration) {
        self.change_lag.observe(after.as_secs_f64());
    }

    fn request(&self, method: &Method, route: &str, status: &'static str, took: Duration) {
        let (method, route) = (method_name(method), route.to_owned());
        let labels = RequestLabels { method, route, status };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A request to a path, or with a method, that no route has.
    pub(crate) fn unrouted(&self, method: &Method, status: u16) {
        self.request(method, NO_ROUTE, class(status), Duration::ZERO);
    }
}

/// How a run of a job ended.
#[derive(Clone, Copy)]
pub(crate) enum JobEnd {
    /// It is over.
    Done,
    /// It asked to run again.
    Again,
    /// It failed and is tried again.
    Failed,
    /// It failed for the last time.
    GivenUp,
}

impl JobEnd {
    pub(crate) fn of(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Done => Self::Done,
            Settlement::Again { .. } => Self::Again,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// Counts a run. A kind that only another release knows is `unknown`.
pub(crate) fn job_ended(app: &App, kind: &str, end: JobEnd) {
    let (lane, kind) =
        app.job_kind(kind).map_or(("unknown", "unknown"), |kind| (kind.lane.name(), kind.name));
    let labels = [("lane", lane), ("kind", kind), ("end", end.as_str())];
    app.metrics().job_runs.get_or_create(&labels).inc();
}

/// A lane as a label.
fn lane_name(number: i16) -> &'static str {
    match number {
        0 => "transactional",
        1 => "standard",
        2 => "bulk",
        _ => "unknown",
    }
}

/// A request under way. Dropped without an answer, it is counted as one whose client hung up.
pub(crate) struct Measured {
    app: Arc<App>,
    route: Arc<Route>,
    began: Instant,
    status: &'static str,
}

impl Measured {
    pub(crate) fn begin(app: &Arc<App>, route: &Arc<Route>) -> Self {
        app.metrics().active.inc();
        let (app, route) = (app.clone(), route.clone());
        Self { app, route, began: Instant::now(), status: "gone" }
    }

    pub(crate) fn answered(mut self, status: u16) {
        self.status = class(status);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let (metrics, route) = (self.app.metrics(), &self.route);
        metrics.active.dec();
        metrics.request(&route.method, &route.path, self.status, self.began.elapsed());
    }
}

/// Whatever a client may send as a method, one of these few.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

type Counts = Family<[(&'static str, &'static str); 1], Counter>;

/// Whatever modules count, by the series' names.
#[derive(Debug, Default)]
struct Counted(RwLock<HashMap<&'static str, (&'static Series, Counts)>>);

impl Counted {
    fn family(&self, series: &'static Series) -> Counts {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, family)) = known.get(series.name) {
            return family.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(series.name).or_insert_with(|| (series, Counts::default())).1.clone()
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (series, counts) in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            let kind = MetricType::Counter;
            counts.encode(encoder.encode_descriptor(series.name, series.help, None, kind)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_knows_makes_no_series_of_its_own() {
        let made_up = Method::from_bytes(b"TENANT42").unwrap();
        assert_eq!(method_name(&made_up), "other");
        assert_eq!(method_name(&Method::PATCH), "PATCH");
    }

    #[test]
    fn series_of_modules_are_counted_by_their_outcome() {
        static SENT: Series = Series { name: "test_sent", help: "Sent", label: "outcome" };
        let metrics = Metrics::default();
        metrics.count(&SENT, "well");
        metrics.count(&SENT, "well");
        metrics.count(&SENT, "badly");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry).unwrap();
        assert!(text.contains("test_sent_total{outcome=\"well\"} 2\n"), "{text}");
        assert!(text.contains("test_sent_total{outcome=\"badly\"} 1\n"), "{text}");
    }
}
