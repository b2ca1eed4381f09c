//! What becomes of deliveries in the log.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use freehold_kernel::{Claimed, Result, SystemTx, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::deliver::{Deliver, Outcome};

const OFF: &str = "the webhook is switched off; switch it on and retry";
/// Why one waits for a receiver that fails.
pub(crate) const HELD: &str = "the receiver fails and is left alone for a while";

/// What is written down about a delivery.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    tenant_id: Uuid,
    id: Uuid,
    /// The turn that this was a part of.
    turn: i32,
    status: &'static str,
    at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    error: Option<&'a str>,
    /// Where the request went, if one was made.
    url: Option<&'a str>,
    duration_ms: i32,
    status_code: Option<i32>,
    response_headers: Option<&'a BTreeMap<String, String>>,
    response_body: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// `None` when there is nothing to tell.
    pub(crate) fn of(
        claimed: &Claimed<Deliver>,
        outcome: &'a Outcome,
        at: Timestamp,
        next: Option<Duration>,
    ) -> Option<Self> {
        let unsent = |status, error| Self {
            tenant_id: *claimed.tenant,
            id: *claimed.job.delivery,
            turn: claimed.job.turn,
            status,
            at,
            next_attempt_at: next.map(|after| at + after),
            error,
            url: None,
            duration_ms: 0,
            status_code: None,
            response_headers: None,
            response_body: None,
        };
        match outcome {
            Outcome::Nothing => None,
            Outcome::Off => Some(unsent("failed", Some(OFF))),
            Outcome::Held(_) => Some(unsent("pending", Some(HELD))),
            Outcome::Sent { request, reply, .. } => {
                let status = match next {
                    _ if reply.arrived() => "delivered",
                    Some(_) => "pending",
                    None => "failed",
                };
                Some(Self {
                    url: Some(request.url()),
                    duration_ms: reply.duration_ms,
                    status_code: reply.status_code,
                    response_headers: reply.headers.as_ref(),
                    response_body: reply.body.as_deref(),
                    ..unsent(status, reply.error.as_deref())
                })
            }
        }
    }
}

/// The requests and what they mean for their deliveries. What has arrived has arrived, whenever it
/// was sent; anything else counts only in the turn that is under way.
pub(crate) async fn write(tx: &mut SystemTx, mut lines: Vec<Line<'_>>) -> Result<()> {
    lines.sort_by_key(|line| line.turn);
    // A statement changes a row once. There are two lines of one delivery where somebody retried it
    // while it was under way.
    while !lines.is_empty() {
        let mut seen = HashSet::new();
        let (first, later) = lines.into_iter().partition(|line| seen.insert(line.id));
        write_each(tx, first).await?;
        lines = later;
    }
    Ok(())
}

async fn write_each(tx: &mut SystemTx, lines: Vec<Line<'_>>) -> Result<()> {
    sqlx::query!(
        "-- tidy: across tenants because a batch holds deliveries of many
         with l as (
           select *, status = 'delivered' as arrived, url is not null as requested
           from jsonb_to_recordset($1) as l (
             tenant_id uuid, id uuid, turn int, status text, at timestamptz,
             next_attempt_at timestamptz, error text, url text, duration_ms int, status_code int,
             response_headers jsonb, response_body text)
         ), changed as (
           update webhooks.deliveries d
           set attempts = d.attempts + l.requested::int,
             status = case when l.arrived or (d.turn <= l.turn and d.status = 'pending')
               then l.status else d.status end,
             status_code = case when (l.arrived or (d.turn <= l.turn and d.status = 'pending'))
               and l.requested then l.status_code else d.status_code end,
             error = case when l.arrived or (d.turn <= l.turn and d.status = 'pending')
               then l.error else d.error end,
             next_attempt_at = case when l.arrived or (d.turn <= l.turn and d.status = 'pending')
               then l.next_attempt_at else d.next_attempt_at end,
             delivered_at = case when l.arrived then l.at else d.delivered_at end
           from l where d.tenant_id = l.tenant_id and d.id = l.id
           returning d.tenant_id, d.id, d.attempts as number, l.at, l.url, l.duration_ms,
             l.status_code as code, l.error as why, l.response_headers, l.response_body, l.requested
         )
         insert into webhooks.attempts
           (tenant_id, delivery_id, number, at, url, duration_ms, status_code, error,
            response_headers, response_body)
         select tenant_id, id, number, at, url, duration_ms, code, why, response_headers,
           response_body
         from changed where requested",
        serde_json::to_value(lines)?,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
