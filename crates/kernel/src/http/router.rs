//! Puts routes, documentation and health on one axum router.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::routes::Route;
use super::{body, docs, headers, health, serve};
use crate::app::App;
use crate::error::{Error, Kind};

/// What a browser lets pages of other origins see of an answer, beside its type and length.
const EXPOSED: [&str; 10] = [
    "etag",
    "idempotency-replayed",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
];

pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut by_path: BTreeMap<String, MethodRouter> = BTreeMap::new();
    for route in app.routes() {
        let methods = by_path.remove(&route.path).unwrap_or_default();
        by_path.insert(route.path.clone(), add(methods, app, route));
    }
    let mut router = Router::new();
    for (path, methods) in by_path {
        router = router.route(&path, methods);
    }
    let (missing, wrong) = (app.clone(), app.clone());
    router
        .merge(pages(app))
        .fallback(move |request: Request| {
            let answer = serve::unrouted(&missing, &request, &Error::not_found());
            after_body(request, answer)
        })
        .method_not_allowed_fallback(move |request: Request| {
            let answer = serve::unrouted(&wrong, &request, &method_not_allowed(&request));
            after_body(request, answer)
        })
        .layer(cors(app))
}

/// What is served beside the API: documentation and probes, under the same headers.
fn pages(app: &Arc<App>) -> Router {
    let https = app.config().public_url.starts_with("https://");
    Router::new()
        .route("/openapi.json", get(docs::openapi).with_state(app.clone()))
        .route("/docs", get(docs::index))
        .route("/docs/{*file}", get(docs::file))
        .route("/api/docs", get(docs::index))
        .route("/health", get(health::report).with_state(app.clone()))
        .route("/api/health", get(health::report).with_state(app.clone()))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready).with_state(app.clone()))
        .layer(axum::middleware::map_response(move |mut page: Response| async move {
            headers::secure(page.headers_mut(), https);
            page
        }))
}

fn add(methods: MethodRouter, app: &Arc<App>, route: &Arc<Route>) -> MethodRouter {
    // Routes are made by Routes::{get, post, …}, whose methods axum all knows.
    let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
    let (app, route) = (app.clone(), route.clone());
    methods.merge(on(filter, move |params: RawPathParams, request: Request| {
        let segments = params.iter().map(|(_, value)| value.to_owned()).collect();
        serve::serve(app.clone(), route.clone(), segments, request)
    }))
}

/// Answers once the body, which nobody wants, has been read.
async fn after_body(request: Request, answer: Response) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body).await;
    answer
}

fn method_not_allowed(request: &Request) -> Error {
    Error::new(
        Kind::MethodNotAllowed,
        "core.method_not_allowed",
        format!("{} is not something this path does.", request.method()),
    )
}

/// Browsers may call from our own origin and from those on the list; never from anywhere with
/// credentials.
fn cors(app: &App) -> CorsLayer {
    let origins: Vec<HeaderValue> = app
        .config()
        .allowed_origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok())
        .collect();
    let headers = [
        "authorization",
        "content-type",
        "freehold-reason",
        "freehold-tenant",
        "idempotency-key",
        "if-match",
        "x-request-id",
    ];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(headers.map(header::HeaderName::from_static))
        .expose_headers(EXPOSED.map(header::HeaderName::from_static))
}
