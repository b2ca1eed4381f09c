//! The Rust receiver of docs/webhooks.md, compiled and run by the tests, which compare the two.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const BYTES_MAX: usize = 512 * 1024;

async fn receive(
    State(webhook): State<Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if webhook.verify(&body, &headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    // Store it here, once per id; work on it after the answer.
    println!("{}", json!({"id": id, "type": event["type"], "data": event["data"]}));
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let webhook = Arc::new(Webhook::new(&std::env::var("WEBHOOK_SECRET")?)?);
    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse::<u16>())?;
    let app = Router::new()
        .route("/", post(receive))
        .layer(DefaultBodyLimit::max(BYTES_MAX))
        .with_state(webhook);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?.port());
    Ok(axum::serve(listener, app).await?)
}
