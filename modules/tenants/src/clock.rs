//! `GET` and `POST /tenant/clock`: a sandbox's own time.

use std::borrow::Cow;
use std::time::Duration;

use freehold_kernel::{
    Error, Event, Json, Result, Routes, TenantId, Timestamp, Tx, endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

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

/// How to move the clock. Its schema says that of `to` and `advanceS` one is given, and only one.
#[derive(Deserialize, Validate)]
#[serde(transparent)]
#[garde(transparent)]
struct MoveClock(#[garde(dive)] Step);

/// To a moment, or by a while. Only forward, only in a sandbox.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = tenants::Step)]
struct Step {
    /// The moment to go to.
    #[serde(default, deserialize_with = "rules::present")]
    #[garde(skip)]
    #[schema(value_type = Timestamp, required = false, example = "2099-12-31T23:59:59.000Z")]
    to: Option<Timestamp>,
    /// How far to go, in seconds; at most five years.
    #[serde(default, deserialize_with = "rules::whole")]
    #[garde(inner(range(max = STEP_MAX_S)))]
    #[schema(value_type = u64, required = false, example = 86_400, maximum = 158_112_000)]
    advance_s: Option<u64>,
    /// Whether to stand still there; true when absent.
    #[garde(skip)]
    #[schema(example = true)]
    frozen: Option<bool>,
}

impl PartialSchema for MoveClock {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(step_with("to", "advanceS"))
            .item(step_with("advanceS", "to"))
            .into()
    }
}

impl ToSchema for MoveClock {
    fn name() -> Cow<'static, str> {
        "tenants.MoveClock".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Step::schemas(schemas);
    }
}

/// The schema of a step that has one field and not the other.
fn step_with(given: &str, absent: &str) -> RefOr<Schema> {
    let mut step = Step::schema();
    if let RefOr::T(Schema::Object(step)) = &mut step {
        step.properties.shift_remove(absent);
        step.required.push(given.to_owned());
    }
    step
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
async fn move_clock(Json(MoveClock(step)): Json<MoveClock>, mut tx: Tx) -> Result<Json<Clock>> {
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
