//! What becomes of deliveries in the log.

use std::time::Duration;

use freehold_kernel::{Claimed, Result, SystemTx, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::deliver::{Deliver, Outcome};

const OFF: &str = "the webhook is switched off; switch it on and retry";

/// What is written down about a delivery.
#[derive(Serialize)]
pub(crate) struct Line {
    tenant_id: Uuid,
    id: Uuid,
    /// The last turn that this says something about.
    turn: i32,
    status: &'static str,
    /// Whether a request was made.
    requested: bool,
    at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    status_code: Option<i32>,
    error: Option<String>,
    duration_ms: i32,
    response_body: Option<String>,
}

impl Line {
    /// `None` when there is nothing to tell.
    pub(crate) fn of(
        claimed: &Claimed<Deliver>,
        outcome: &Outcome,
        at: Timestamp,
        next: Option<Duration>,
    ) -> Option<Self> {
        let off = Self {
            tenant_id: *claimed.tenant,
            id: *claimed.job.delivery,
            turn: claimed.job.turn,
            status: "failed",
            requested: false,
            at,
            next_attempt_at: next.map(|after| at + after),
            status_code: None,
            error: Some(OFF.to_owned()),
            duration_ms: 0,
            response_body: None,
        };
        match outcome {
            Outcome::Nothing => None,
            Outcome::Off => Some(off),
            // It is left as it was.
            Outcome::Held(_) => Some(Self { status: "pending", error: None, ..off }),
            Outcome::Sent { reply, .. } => Some(Self {
                status: match (reply.arrived(), next) {
                    (true, _) => "delivered",
                    (false, Some(_)) => "pending",
                    (false, None) => "failed",
                },
                // What has arrived ends every turn.
                turn: if reply.arrived() { i32::MAX } else { off.turn },
                requested: true,
                status_code: reply.status_code,
                error: reply.error.clone(),
                duration_ms: reply.duration_ms,
                response_body: reply.body.clone(),
                ..off
            }),
        }
    }
}

/// The requests and what they mean for their deliveries. What was sent in a turn that is over says
/// nothing about the next one, unless it arrived.
pub(crate) async fn write(tx: &mut SystemTx, lines: Vec<Line>) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- tidy: across tenants because a batch holds deliveries of many
         with l as (
           select * from jsonb_to_recordset($1) as l (
             tenant_id uuid, id uuid, turn int, status text, requested bool, at timestamptz,
             next_attempt_at timestamptz, status_code int, error text, duration_ms int,
             response_body text)
         ), changed as (
           update webhooks.deliveries d
           set attempts = d.attempts + l.requested::int,
             status = case when d.turn <= l.turn then l.status else d.status end,
             status_code =
               case when d.turn <= l.turn and l.requested then l.status_code else d.status_code end,
             error = case when d.turn > l.turn then d.error when l.requested then l.error
               else coalesce(l.error, d.error) end,
             next_attempt_at =
               case when d.turn <= l.turn then l.next_attempt_at else d.next_attempt_at end,
             delivered_at = case when l.status = 'delivered' then l.at else d.delivered_at end
           from l where d.tenant_id = l.tenant_id and d.id = l.id
           returning d.tenant_id, d.id, d.attempts as number, l.at, l.duration_ms, l.status_code as code,
             l.error as why, l.response_body, l.requested
         )
         insert into webhooks.attempts
           (tenant_id, delivery_id, number, at, duration_ms, status_code, error, response_body)
         select tenant_id, id, number, at, duration_ms, code, why, response_body
         from changed where requested",
        serde_json::to_value(lines)?,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
