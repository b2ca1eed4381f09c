//! The ceilings: bare axum handlers on the same database that read and write the same, and do
//! nothing else. No tokens, limits, tenants, events or row-level security.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use freehold_kernel::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::application::POOL_SIZE;
use crate::place::Place;

/// The bare server.
pub(crate) struct Ceiling {
    pub(crate) address: SocketAddr,
    pool: PgPool,
    serving: JoinHandle<()>,
}

impl Ceiling {
    /// Makes the tables and serves. The pool logs in as the superuser, whom no policy holds.
    pub(crate) async fn start(place: &Place) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .test_before_acquire(false)
            .connect(&place.superuser_url())
            .await?;
        sqlx::raw_sql(include_str!("tables.sql")).execute(&pool).await?;
        let router = Router::new()
            .route("/tenants/{id}", get(read))
            .route("/tenants/{id}/items", post(write))
            .with_state(pool.clone());
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

/// The same as the application's answer.
#[derive(Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
struct Tenant {
    id: TenantId,
    slug: String,
    name: String,
    kind: String,
    status: String,
    time_zone: String,
    locale: String,
    currency: String,
    version: i64,
    created_at: Timestamp,
    closed_at: Option<Timestamp>,
}

async fn read(State(pool): State<PgPool>, Path(id): Path<Uuid>) -> Result<Response, Failed> {
    let tenant = sqlx::query_as::<_, Tenant>(
        "select tenant_id as id, slug, name, kind, status, time_zone, locale, currency, version,
           created_at, closed_at
         from core.tenants where tenant_id = $1",
    )
    .bind(id)
    .fetch_one(&pool)
    .await?;
    json(StatusCode::OK, &tenant)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewItem {
    name: String,
    role_ids: Vec<String>,
}

/// What is answered, and what the record of it says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    id: String,
    name: String,
    role_ids: Vec<String>,
}

async fn write(
    State(pool): State<PgPool>,
    Path(tenant): Path<Uuid>,
    body: Bytes,
) -> Result<Response, Failed> {
    let new: NewItem = serde_json::from_slice(&body)?;
    let id = Uuid::now_v7();
    let item = Item { id: format!("itm_{}", id.simple()), name: new.name, role_ids: new.role_ids };
    #[allow(clippy::disallowed_methods, reason = "the ceiling is what plain sqlx does")]
    let mut tx = pool.begin().await?;
    sqlx::query(
        "insert into bench.items (tenant_id, id, name, role_ids, created_at)
         values ($1, $2, $3, $4, now())",
    )
    .bind(tenant)
    .bind(id)
    .bind(&item.name)
    .bind(&item.role_ids)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into bench.records
           (tenant_id, id, at, source, type, actor, subject, request_id, data, personal, digest)
         values ($1, $2, now(), 'freehold', 'item.created', 'usr_01jz8q6k3mf1g8tvkh4z6c9x2b', $3,
           'req_01jz8q6k3mf1g8tvkh4z6c9x2b', $4, $5, $6)",
    )
    .bind(tenant)
    .bind(Uuid::now_v7())
    .bind(&item.id)
    .bind(serde_json::to_value(&item)?)
    .bind([0_u8; 160].as_slice())
    .bind([0_u8; 32].as_slice())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    json(StatusCode::CREATED, &item)
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Failed> {
    let body = serde_json::to_vec(value)?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Anything that goes wrong is a 500, which the measurement refuses to count.
struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}
