//! Ceiling D, what a careful person would write by hand to pass events on: a bare handler that
//! inserts a row and commits, then a task that posts it, signed, and inserts another. No tokens, no
//! tenants, no subscriptions; and what was taken is lost with the process.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use freehold_kernel::EventId;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::types::Json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::application::POOL_SIZE;
use crate::client::Poster;
use crate::place::Place;
use crate::report::progress;

/// Requests to the receiver at once.
const IN_FLIGHT: usize = 64;

/// The bare server.
pub(crate) struct ByHand {
    pub(crate) address: SocketAddr,
    pool: PgPool,
    serving: JoinHandle<()>,
}

struct Parts {
    pool: PgPool,
    poster: Poster,
    receiver: Uri,
    key: hmac::Key,
    slots: Arc<Semaphore>,
}

/// What a sender writes.
#[derive(Deserialize)]
struct NewEvent {
    r#type: String,
    data: Box<RawValue>,
}

impl ByHand {
    /// Makes the tables and serves.
    pub(crate) async fn start(place: &Place, receiver: &str) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .test_before_acquire(false)
            .connect(&place.superuser_url())
            .await?;
        sqlx::raw_sql(include_str!("by_hand.sql")).execute(&pool).await?;
        let parts = Parts {
            pool: pool.clone(),
            poster: Poster::new(),
            receiver: receiver.parse()?,
            key: hmac::Key::new(hmac::HMAC_SHA256, &[7; 24]),
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
        };
        let router =
            Router::new().route("/tenants/{id}/events", post(take)).with_state(Arc::new(parts));
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // As the application does; where it cannot be set, the figure is a little lower.
            let _ = stream.set_nodelay(true);
        });
        let serving = tokio::spawn(async move {
            // Never returns; ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, pool, serving })
    }

    /// Stops.
    pub(crate) async fn stop(self) {
        self.serving.abort();
        self.pool.close().await;
    }
}

async fn take(
    State(parts): State<Arc<Parts>>,
    Path(tenant): Path<Uuid>,
    body: Bytes,
) -> Result<(StatusCode, String), StatusCode> {
    let event: NewEvent = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    // In a task of its own: wrk hangs up at the end, which would cancel this between the two.
    tokio::spawn(keep(parts, tenant, event, body))
        .await
        .ok()
        .and_then(Result::ok)
        .map(|id| (StatusCode::ACCEPTED, format!("{{\"id\":\"{id}\"}}")))
        .ok_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn keep(parts: Arc<Parts>, tenant: Uuid, event: NewEvent, body: Bytes) -> Result<EventId> {
    let id = EventId::new();
    sqlx::query("insert into bench.taken (tenant_id, id, type, data) values ($1, $2, $3, $4)")
        .bind(tenant)
        .bind(id.uuid())
        .bind(event.r#type)
        .bind(Json(event.data))
        .execute(&parts.pool)
        .await?;
    tokio::spawn(async move {
        if let Err(error) = pass_on(&parts, tenant, id, body).await {
            // The row that is now missing fails the run.
            progress(&format!("by hand, {id} was not passed on: {error:#}"));
        }
    });
    Ok(id)
}

async fn pass_on(parts: &Parts, tenant: Uuid, id: EventId, body: Bytes) -> Result<()> {
    let _slot = parts.slots.acquire().await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut signed = hmac::Context::with_key(&parts.key);
    signed.update(format!("{id}.{now}.").as_bytes());
    signed.update(&body);
    let signature = format!("v1,{}", STANDARD.encode(signed.sign()));
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", id.to_string().parse()?);
    headers.insert("webhook-timestamp", now.into());
    headers.insert("webhook-signature", signature.parse()?);
    let (status, _) = parts.poster.post(parts.receiver.clone(), headers, body).await?;
    ensure!(status.is_success(), "the receiver answered {status}");
    sqlx::query("insert into bench.sent (tenant_id, id, status_code) values ($1, $2, $3)")
        .bind(tenant)
        .bind(id.uuid())
        .bind(i32::from(status.as_u16()))
        .execute(&parts.pool)
        .await?;
    Ok(())
}
