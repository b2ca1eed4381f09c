//! `GET` and `POST /tenant/clock`: a sandbox's own time.

use std::time::Duration;

use freehold_kernel::{Error, Event, Json, Result, Routes, TenantId, Timestamp, Tx, endpoint};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The farthest one step may go.
const STEP_MAX_S: u64 = 5 * 366 * 24 * 60 * 60;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/tenant/clock").get("/", "tenants:read", get_clock).post(
        "/",
        "tenants:write",
        move_clock,
    )
}

/// What time it is for the tenant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::Clock)]
struct Clock {
    /// Business time: what trials, retries and renewals go by.
    now: Timestamp,
    /// Whether the tenant has a clock of its own; else its time is real.
    own: bool,
    /// Whether it stands still until it is moved.
    frozen: bool,
}

/// How to move the clock: to a moment, or by a while. Only forward, only in a sandbox.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = tenants::MoveClock)]
struct MoveClock {
    /// The moment to go to.
    #[garde(skip)]
    to: Option<Timestamp>,
    /// How far to go, in seconds; at most five years.
    #[garde(inner(range(max = STEP_MAX_S)))]
    #[schema(example = 86_400, maximum = 158_112_000)]
    advance_s: Option<u64>,
    /// Whether to stand still there; true when absent.
    #[garde(skip)]
    #[schema(example = true)]
    frozen: Option<bool>,
}

/// A sandbox's clock was moved.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = tenants::ClockMoved)]
#[event(type = "tenant.clock_moved", subject = tenant_id)]
pub(crate) struct ClockMoved {
    /// The tenant.
    tenant_id: TenantId,
    /// What the clock shows now.
    to: Timestamp,
}

/// See what time it is for the tenant.
#[endpoint]
async fn get_clock(tx: Tx) -> Result<Json<Clock>> {
    let clock = tx.clock();
    let frozen = clock.is_some_and(|clock| clock.frozen);
    Ok(Json(Clock { now: tx.now(), own: clock.is_some(), frozen }))
}

/// Move a sandbox's clock forward. What was due by then happens, in order.
#[endpoint("core.not_a_sandbox")]
async fn move_clock(Json(step): Json<MoveClock>, mut tx: Tx) -> Result<Json<Clock>> {
    let to = match (step.to, step.advance_s) {
        (Some(to), None) => to,
        (None, Some(seconds)) => tx.now() + Duration::from_secs(seconds),
        _ => {
            return Err(Error::invalid("", "core.required", "say either `to` or `advanceS`"));
        }
    };
    let clock = tx.set_clock(to, step.frozen.unwrap_or(true)).await?;
    tx.emit(ClockMoved { tenant_id: tx.tenant(), to }).await?;
    Ok(Json(Clock { now: to, own: true, frozen: clock.frozen }))
}
