//! A module for the proof alone: its rows, and routes whose handlers break off in every way.

use std::time::Duration;

use freehold_kernel::{Created, Json, Module, Result, Routes, SystemRole, Tx, endpoint};
use serde::{Deserialize, Serialize};
use sqlx::migrate::Migrator;
use utoipa::ToSchema;
use uuid::Uuid;

use super::rows::{self, Row, RowWritten, Seen};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Longer than any handler may take.
const FOR_EVER: Duration = Duration::from_secs(600);

/// The module; only applications that are being proved have it.
#[must_use]
pub fn module() -> Module {
    Module::new("proof")
        .migrations(&MIGRATIONS)
        .resource("proof_row", "proof_rows")
        .id::<Row>()
        .permission("proof_rows:use", "Write and read rows of the proof", &[SystemRole::Owner])
        .publishes::<RowWritten>()
        .routes(routes())
}

fn routes() -> Routes {
    Routes::at("/api/v1/proof")
        .get("/rows", "proof_rows:use", look)
        .get("/half", "proof_rows:use", look_half)
        .post("/rows", "proof_rows:use", write)
        .post("/panics", "proof_rows:use", write_and_panic)
        .post("/failures", "proof_rows:use", write_and_fail)
        .post("/limits", "proof_rows:use", write_and_exceed)
        .post("/waits", "proof_rows:use", write_and_wait)
}

/// A row that was written.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = proof::Written)]
pub(super) struct Written {
    /// Its id.
    pub(super) id: Uuid,
}

/// See everything there is to see.
#[endpoint]
async fn look(mut tx: Tx) -> Result<Json<Seen>> {
    Ok(Json(rows::see(&mut tx, None).await?))
}

/// Look, leave most of what was found unread, and look again.
#[endpoint]
async fn look_half(mut tx: Tx) -> Result<Json<Seen>> {
    let mut seen = rows::see(&mut tx, None).await?;
    seen.owners.extend(rows::see_half(&mut tx).await?);
    Ok(Json(seen))
}

/// Write a row.
#[endpoint]
async fn write(mut tx: Tx) -> Result<Created<Written>> {
    Ok(Created(Written { id: rows::write(&mut tx, false).await? }))
}

/// Write a row, and panic.
#[endpoint]
async fn write_and_panic(mut tx: Tx) -> Result<Created<Written>> {
    rows::write(&mut tx, true).await?;
    // As a panic, without its words in the log for each of thousands.
    std::panic::resume_unwind(Box::new("a panic of the proof"));
}

/// Write a row, and fail.
#[endpoint]
async fn write_and_fail(mut tx: Tx) -> Result<Created<Written>> {
    let id = rows::write(&mut tx, true).await?;
    rows::fail(&mut tx).await?;
    Ok(Created(Written { id }))
}

/// Write a row, and take longer than a statement may.
#[endpoint]
async fn write_and_exceed(mut tx: Tx) -> Result<Created<Written>> {
    let id = rows::write(&mut tx, true).await?;
    rows::exceed(&mut tx).await?;
    Ok(Created(Written { id }))
}

/// Write a row, and take longer than a handler may.
#[endpoint]
async fn write_and_wait(mut tx: Tx) -> Result<Created<Written>> {
    let id = rows::write(&mut tx, true).await?;
    tokio::time::sleep(FOR_EVER).await;
    Ok(Created(Written { id }))
}
