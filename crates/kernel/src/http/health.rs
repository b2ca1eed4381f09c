//! Whether this process lives, and whether it can serve.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;

const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

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

fn axum_json(status: StatusCode, word: &str) -> Response {
    let body = json!({"status": word}).to_string();
    (status, [("content-type", "application/json"), ("cache-control", "no-store")], body)
        .into_response()
}
