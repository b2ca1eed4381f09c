//! Whether this process lives, whether it can serve, and what ails it if it does not do well.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::headers;
use super::serve::Peer;
use crate::app::App;
use crate::database::Backlog;
use crate::queue::Lane;

const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Probes, however many, ask the database no more often than this.
const FRESH: Duration = Duration::from_secs(1);
/// Events are handled as they are committed; one this old says that its subscriber is stuck.
const OUTBOX_LATE: f64 = 60.0;
/// Tokens and leases bear seconds; clocks that are further apart do not agree on what has expired.
const CLOCKS_APART: Duration = Duration::from_secs(5);

/// 200 as long as the process answers at all.
pub(super) async fn live() -> Response {
    axum_json(StatusCode::OK, "ok")
}

/// 200 when requests can be served now; 503 when the database is away or the process is stopping.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.is_stopping() {
        return axum_json(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    match tokio::time::timeout(CHECK_TIMEOUT, app.database().ping()).await {
        Ok(Ok(())) => axum_json(StatusCode::OK, "ok"),
        _ => axum_json(StatusCode::SERVICE_UNAVAILABLE, "database unavailable"),
    }
}

/// Everything that can be told from here: 200 when it is well or at least serves, 503 when it does
/// not. To callers on this machine with the reasons, to others in one word.
pub(super) async fn report(State(app): State<Arc<App>>, request: Request) -> Response {
    let began = Instant::now();
    let report = Box::pin(app.health().report(&app)).await;
    let code = match report.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let body = if is_local(peer, request.headers(), &app.config().trusted_proxies) {
        json!({
            "status": report.status,
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeS": app.metrics().uptime().as_secs(),
            "responseTimeMs": milliseconds(began.elapsed()),
            "checks": report.checks,
        })
    } else {
        json!({"status": report.status})
    };
    answer(code, &body.to_string())
}

/// Whether the caller is on this machine. A proxy that we were not told of may be, too; it says
/// for whom it asks.
fn is_local(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpAddr]) -> bool {
    let forwarded = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];
    let caller = headers::caller(peer, headers, trusted);
    let by_proxy = forwarded.iter().any(|name| headers.contains_key(*name));
    caller.is_some_and(|ip| ip.is_loopback()) && !by_proxy
}

/// How something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Well.
    Ok,
    /// It serves, and somebody should look.
    Degraded,
    /// It cannot serve.
    Down,
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    status: Status,
    latency_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug)]
struct Report {
    status: Status,
    checks: BTreeMap<&'static str, Check>,
}

/// Makes reports, and remembers the last one for a moment.
#[derive(Default)]
pub(crate) struct Health(Mutex<Option<(Instant, Arc<Report>)>>);

impl Health {
    /// Those who ask at once share one report.
    async fn report(&self, app: &App) -> Arc<Report> {
        let mut known = self.0.lock().await;
        if let Some((at, report)) = &*known
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = Arc::new(Box::pin(examine(app)).await);
        *known = Some((Instant::now(), report.clone()));
        report
    }
}

async fn examine(app: &App) -> Report {
    let (requests, system, migrations, backlog) = tokio::join!(
        timed(requests(app)),
        timed(system(app)),
        timed(migrations(app)),
        app.metrics().reader().backlog(app),
    );
    let (system, clock) = match system {
        (Ok(clock), latency) => (check(Ok(()), latency), check(clock, latency)),
        (Err(fault), latency) => (check(Err(fault.clone()), latency), check(Err(fault), latency)),
    };
    let hears = app.wakers().hears();
    let checks = BTreeMap::from([
        ("database.requests", check(requests.0, requests.1)),
        ("database.system", system),
        ("clock", clock),
        ("migrations", check(migrations.0, migrations.1)),
        ("outbox", check(outbox(backlog.as_deref()), Duration::ZERO)),
        ("jobs", check(jobs(backlog.as_deref()), Duration::ZERO)),
        ("otherNodes", check(listening(hears), Duration::ZERO)),
        ("process", check(stopping(app), Duration::ZERO)),
    ]);
    let status = checks.values().map(|check| check.status).max().unwrap_or(Status::Ok);
    Report { status, checks }
}

/// How it does if not well, and why.
type Fault = (Status, String);

fn check(outcome: Result<(), Fault>, latency: Duration) -> Check {
    let latency_ms = milliseconds(latency);
    match outcome {
        Ok(()) => Check { status: Status::Ok, latency_ms, detail: None },
        Err((status, why)) => Check { status, latency_ms, detail: Some(why) },
    }
}

async fn timed<T>(work: impl Future<Output = Result<T, Fault>>) -> (Result<T, Fault>, Duration) {
    let began = Instant::now();
    let outcome = tokio::time::timeout(CHECK_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err((Status::Down, format!("no answer within {} s", CHECK_TIMEOUT.as_secs())))
    });
    (outcome, began.elapsed())
}

fn down(error: impl std::fmt::Display) -> Fault {
    (Status::Down, error.to_string())
}

async fn requests(app: &App) -> Result<(), Fault> {
    app.database().ping().await.map_err(down)
}

/// The other pool, and by the way whether its clock is ours.
async fn system(app: &App) -> Result<Result<(), Fault>, Fault> {
    let theirs = app.database().its_clock().await.map_err(down)?;
    let ours = app.config().clock.now();
    let apart = ours.since(theirs).max(theirs.since(ours));
    if apart <= CLOCKS_APART {
        return Ok(Ok(()));
    }
    let detail = format!("this node and the database are {} s apart", apart.as_secs());
    Ok(Err((Status::Degraded, detail)))
}

async fn migrations(app: &App) -> Result<(), Fault> {
    let behind = app.database().behind(app.schema_versions()).await.map_err(down)?;
    if behind.is_empty() {
        return Ok(());
    }
    Err((Status::Down, format!("not everything has run in: {}", behind.join(", "))))
}

fn outbox(backlog: Option<&Backlog>) -> Result<(), Fault> {
    let backlog = backlog.ok_or_else(unknown)?;
    let late = backlog.outbox.iter().filter(|row| row.oldest_seconds > OUTBOX_LATE);
    let late: Vec<String> = late
        .map(|row| format!("{} is {:.0} s behind", row.subscriber, row.oldest_seconds))
        .collect();
    if late.is_empty() { Ok(()) } else { Err((Status::Degraded, late.join("; "))) }
}

fn jobs(backlog: Option<&Backlog>) -> Result<(), Fault> {
    let backlog = backlog.ok_or_else(unknown)?;
    let late = backlog.jobs.iter().filter_map(|row| {
        let lane = Lane::ALL.into_iter().find(|lane| lane.number() == row.lane)?;
        let oldest = row.oldest_seconds.filter(|seconds| *seconds > late_after(lane))?;
        Some(format!("{} is due since {oldest:.0} s", row.kind))
    });
    let late: Vec<String> = late.collect();
    if late.is_empty() { Ok(()) } else { Err((Status::Degraded, late.join("; "))) }
}

/// Seconds that a due job may wait before somebody should look.
const fn late_after(lane: Lane) -> f64 {
    match lane {
        Lane::Transactional => 30.0,
        Lane::Standard => 120.0,
        Lane::Bulk => 3600.0,
    }
}

fn listening(hears: bool) -> Result<(), Fault> {
    let why = "hints of other nodes do not arrive; their work is found within a second";
    if hears { Ok(()) } else { Err((Status::Degraded, why.to_owned())) }
}

fn stopping(app: &App) -> Result<(), Fault> {
    if app.is_stopping() { Err((Status::Down, "stopping".to_owned())) } else { Ok(()) }
}

fn unknown() -> Fault {
    (Status::Degraded, "the database did not say".to_owned())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn axum_json(status: StatusCode, word: &str) -> Response {
    answer(status, &json!({"status": word}).to_string())
}

fn answer(status: StatusCode, body: &str) -> Response {
    let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
    (status, headers, body.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_behind_a_proxy_on_this_machine_is_not_on_this_machine() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let away: IpAddr = "192.0.2.7".parse().unwrap();
        let none = HeaderMap::new();
        assert!(is_local(Some(here), &none, &[]));
        assert!(!is_local(Some(away), &none, &[]));
        assert!(!is_local(None, &none, &[]));
        for header in ["x-forwarded-for", "x-real-ip", "forwarded", "via"] {
            let mut headers = HeaderMap::new();
            headers.insert(header, "127.0.0.1".parse().unwrap());
            assert!(!is_local(Some(here), &headers, &[]), "{header}");
            assert!(!is_local(Some(here), &headers, &[here]), "{header}");
        }
    }
}
