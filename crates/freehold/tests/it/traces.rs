//! One trace from a request through its event and the job to the delivery, as a collector gets it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use freehold_kernel::trace::Export;
use freehold_testkit::{Client, TestApp};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::life;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

pub(crate) type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector; answers with its address and what it gets.
pub(crate) async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let take = |State(spans): State<Spans>, body: Bytes| async move {
        let sent = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = sent.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, spans)
}

/// Everything of one trace, by name, once a span of this name is among it.
async fn trace(
    export: &Arc<Export>,
    spans: &Spans,
    id: &str,
    last: &str,
) -> BTreeMap<String, Span> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let export = export.clone();
        // It waits for the collector, which runs on this thread.
        tokio::task::spawn_blocking(move || export.flush()).await.unwrap();
        let all = spans.lock().unwrap().clone();
        let ours = all.into_iter().filter(|span| hex(&span.trace_id) == id);
        let ours: BTreeMap<_, _> = ours.map(|span| (span.name.clone(), span)).collect();
        if ours.contains_key(last) {
            return ours;
        }
        assert!(Instant::now() < deadline, "{:?}", ours.keys());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn owner(app: &TestApp) -> Client {
    app.bearer(life::register(app, "Canary").await.text_of("accessToken"))
}

/// A receiver, and a webhook that sends it orders.
async fn receiver(owner: &Client) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let body = json!({"url": server.uri(), "events": ["order.*"]});
    owner.post("/api/v1/webhooks", body).await.expect(201);
    server
}

async fn order(owner: &Client, flags: &str) {
    let caller = format!("00-{TRACE}-{CALLER}-{flags}");
    let look = owner.get("/api/v1/webhooks?cursor=canary-query").header("traceparent", &caller);
    look.await.invalid("cursor");
    let event = json!({"type": "order.paid", "id": "order-1", "data": {"total": 7}});
    owner
        .post("/api/v1/events", event)
        .header("traceparent", caller)
        .header("x-request-id", "canary-request")
        .await
        .expect(202);
}

#[tokio::test]
async fn a_request_its_event_the_job_and_the_delivery_are_one_trace() {
    let (address, spans) = collector().await;
    let export = Arc::new(Export::start(&address, 0.0).unwrap());
    let app = life::app().await;
    let owner = owner(&app).await;
    let receiver = receiver(&owner).await;
    order(&owner, "01").await;
    let ours = trace(&export, &spans, TRACE, "POST to a receiver").await;
    // Each is a part of the one before.
    let chain =
        ["POST /api/v1/events", "dispatch webhooks", "job webhooks.deliver", "POST to a receiver"];
    let mut parent = CALLER.to_owned();
    for name in chain {
        let span = ours.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", ours.keys()));
        assert_eq!(hex(&span.parent_span_id), parent, "{name}");
        parent = hex(&span.span_id);
    }
    let status = ours["POST to a receiver"].attributes.iter().find_map(|attribute| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        (attribute.key == "http.response.status_code").then(|| value.clone())
    });
    assert_eq!(status, Some(Value::IntValue(200)));
    // What is not asked for is not sent, and nothing says who it was.
    let all = spans.lock().unwrap().clone();
    assert!(all.iter().all(|span| hex(&span.trace_id) == TRACE), "the share is 0");
    let text = format!("{all:?}");
    for canary in ["anary", "example.org", owner.token(), "order-1", &receiver.uri()] {
        assert!(!text.contains(canary), "{canary} is in {text}");
    }
    // The trace is ours: the customer's server does not see it.
    let requests = receiver.received_requests().await.unwrap();
    assert!(!requests.is_empty());
    for request in requests {
        let headers = format!("{:?}", request.headers);
        assert!(!headers.contains("traceparent") && !headers.contains(TRACE), "{headers}");
    }
}

#[tokio::test]
async fn what_an_event_is_a_part_of_is_kept_for_other_nodes() {
    let (address, spans) = collector().await;
    let export = Arc::new(Export::start(&address, 0.0).unwrap());
    let app = life::app().await;
    let owner = owner(&app).await;
    let _receiver = receiver(&owner).await;
    order(&owner, "01").await;
    trace(&export, &spans, TRACE, "POST to a receiver").await;
    let kept: Vec<String> = sqlx::query_scalar("select distinct parent from core.traces")
        .fetch_all(app.sql())
        .await
        .unwrap();
    assert_eq!(kept.len(), 1, "one request committed: {kept:?}");
    assert!(kept[0].starts_with(&format!("00-{TRACE}-")) && kept[0].ends_with("-01"), "{kept:?}");
}

#[tokio::test]
async fn what_nobody_wants_to_know_is_neither_sent_nor_kept() {
    let (address, spans) = collector().await;
    let export = Arc::new(Export::start(&address, 0.0).unwrap());
    let app = life::app().await;
    let owner = owner(&app).await;
    let receiver = receiver(&owner).await;
    order(&owner, "00").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while receiver.received_requests().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the event does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::task::spawn_blocking(move || export.flush()).await.unwrap();
    assert!(spans.lock().unwrap().is_empty());
    let kept: i64 =
        sqlx::query_scalar("select count(*) from core.traces").fetch_one(app.sql()).await.unwrap();
    assert_eq!(kept, 0);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
