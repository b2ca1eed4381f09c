//! Traces: one from a request through its events and jobs to the requests that follow from them.
//!
//! A span carries what is named here and nothing else: no header, no body, no text of an error. What
//! causes what is known by the ids of events and jobs; see docs/adr/0009.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use moka::sync::Cache;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use uuid::Uuid;

use crate::app::App;
use crate::database::Db;
use crate::error::Result;
use crate::http::Route;
use crate::tx::SystemTx;

/// What causes are remembered on this node; older ones are in the database.
const REMEMBERED_MAX: u64 = 20_000;
const HEADER: &str = "traceparent";

static ON: AtomicBool = AtomicBool::new(false);

/// Where the spans of this process go. Dropped, it sends what is left.
pub struct Export(SdkTracerProvider);

impl Export {
    /// Begins to send spans to `<endpoint>/v1/traces`: all of a trace that somebody else began and
    /// wants, and this share (0 to 1) of those that begin here.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn start(
        endpoint: &str,
        share: f64,
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(url).build()?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)));
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource =
            Resource::builder().with_service_name("freehold").with_attribute(version).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        global::set_tracer_provider(provider.clone());
        ON.store(true, Ordering::Relaxed);
        Ok(Self(provider))
    }

    /// Sends what is waiting.
    pub fn flush(&self) {
        if let Err(error) = self.0.force_flush() {
            tracing::warn!(%error, "spans could not be sent");
        }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        ON.store(false, Ordering::Relaxed);
        if let Err(error) = self.0.shutdown_with_timeout(Duration::from_secs(2)) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// What a span is a part of.
pub(crate) type Cause = SpanContext;

/// Something under way. It has ended when this is dropped.
pub struct Span(Option<global::BoxedSpan>);

impl Span {
    /// The request of a client, as a part of the client's own trace if it names one.
    pub(crate) fn of_request(route: &Route, headers: &HeaderMap) -> Self {
        if !is_on() {
            return Self(None);
        }
        let sent = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let name = format!("{} {}", route.method, route.path);
        let attributes = [
            KeyValue::new("http.request.method", route.method.to_string()),
            KeyValue::new("http.route", route.path.clone()),
        ];
        Self::begin(name, SpanKind::Server, sent.and_then(read), attributes)
    }

    /// A request to somebody else, as a part of what runs here. Ends when it is dropped.
    #[must_use]
    pub fn of_call(name: &'static str) -> Self {
        let current = Context::current().span().span_context().clone();
        if !is_on() || !current.is_valid() {
            return Self(None);
        }
        Self::begin(name.to_owned(), SpanKind::Client, Some(current), [])
    }

    fn begin<const N: usize>(
        name: String,
        kind: SpanKind,
        parent: Option<Cause>,
        attributes: [KeyValue; N],
    ) -> Self {
        let tracer = global::tracer_provider().tracer("freehold");
        // A parent that is none would count as one whose trace nobody wants.
        let parent = parent
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        Self(Some(tracer.build_with_context(builder, &parent)))
    }

    /// What follows from it is a part of this; `None` when nobody wants to know.
    pub(crate) fn cause(&self) -> Option<Cause> {
        let context = self.0.as_ref()?.span_context();
        context.is_sampled().then(|| context.clone())
    }

    /// How it ended, by a number that its kind has: the status of an answer.
    pub fn answered(&mut self, status: u16) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }

    /// It went wrong. Why is in the log, which does not leave the machine by itself.
    pub(crate) fn failed(&mut self) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(""));
        }
    }

    /// Does something as a part of this.
    pub(crate) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        use opentelemetry::trace::FutureExt;
        match self.cause() {
            Some(cause) => work.with_context(Context::new().with_remote_span_context(cause)).await,
            None => work.await,
        }
    }
}

fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// What caused events and jobs of late, by their ids; `None` where nobody wants to know.
fn remembered() -> &'static Cache<Uuid, Option<Cause>> {
    static REMEMBERED: LazyLock<Cache<Uuid, Option<Cause>>> =
        LazyLock::new(|| Cache::new(REMEMBERED_MAX));
    &REMEMBERED
}

/// Notes in a transaction that is about to commit what caused its events and jobs.
pub(crate) async fn note(
    db: &mut Db,
    cause: Option<&Cause>,
    ids: impl Iterator<Item = Uuid>,
) -> Result<()> {
    if !is_on() {
        return Ok(());
    }
    let ids: Vec<Uuid> = ids.collect();
    for id in &ids {
        remembered().insert(*id, cause.cloned());
    }
    match cause.filter(|_| !ids.is_empty()) {
        Some(cause) => crate::database::write_traces(db, &ids, &written(cause)).await,
        None => Ok(()),
    }
}

/// A subscriber's work on a batch: a span for each event whose trace somebody wants.
pub(crate) async fn of_batch(
    tx: &mut SystemTx,
    subscriber: &str,
    events: impl Iterator<Item = Uuid>,
) -> Result<Vec<Span>> {
    if !is_on() {
        return Ok(Vec::new());
    }
    let events: Vec<Uuid> = events.collect();
    recall(tx.db(), &events).await?;
    let begin = |id: &Uuid| {
        let cause = remembered().get(id).flatten()?;
        let span = Span::begin(
            format!("dispatch {subscriber}"),
            SpanKind::Consumer,
            Some(cause),
            [KeyValue::new("freehold.event", id.to_string())],
        );
        // What follows from the event follows from this.
        remembered().insert(*id, span.cause());
        Some(span)
    };
    Ok(events.iter().filter_map(begin).collect())
}

/// One run of a job, which `cause` (the id of an event, or of the job itself) led to.
pub(crate) async fn of_job(app: &std::sync::Arc<App>, kind: &'static str, cause: Uuid) -> Span {
    if !is_on() {
        return Span(None);
    }
    if !remembered().contains_key(&cause)
        && let Err(error) = Box::pin(look_up(app, cause)).await
    {
        tracing::debug!(%error, "what led to a job could not be read");
    }
    match remembered().get(&cause).flatten() {
        Some(parent) => Span::begin(format!("job {kind}"), SpanKind::Consumer, Some(parent), []),
        None => Span(None),
    }
}

async fn look_up(app: &std::sync::Arc<App>, id: Uuid) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    recall(tx.db(), &[id]).await
}

/// Reads what this node does not remember because another one committed it.
async fn recall(db: &mut Db, ids: &[Uuid]) -> Result<()> {
    let unknown: Vec<Uuid> =
        ids.iter().copied().filter(|id| !remembered().contains_key(id)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let found: HashMap<Uuid, String> = crate::database::read_traces(db, &unknown).await?;
    for id in unknown {
        remembered().insert(id, found.get(&id).and_then(|parent| read(parent)));
    }
    Ok(())
}

/// A `traceparent`, if it is one.
fn read(parent: &str) -> Option<Cause> {
    let carrier = HashMap::from([(HEADER.to_owned(), parent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let cause = context.span().span_context().clone();
    cause.is_valid().then_some(cause)
}

fn written(cause: &Cause) -> String {
    let flags = cause.trace_flags().to_u8();
    format!("00-{}-{}-{flags:02x}", cause.trace_id(), cause.span_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nonsense_is_not() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cause = read(parent).unwrap();
        assert!(cause.is_sampled());
        assert_eq!(written(&cause), parent);
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for nonsense in ["", "00-x-y-01", zeros, "'; drop table core.traces; --"] {
            assert!(read(nonsense).is_none(), "{nonsense}");
        }
    }
}
