//! The job behind every delivery: many are planned together, sent side by side, and written down
//! together.

use std::sync::Arc;
use std::time::Duration;

use freehold_egress::Egress;
use freehold_kernel::crypto::random;
use freehold_kernel::trace::Span;
use freehold_kernel::{
    App, Claimed, Error, Event, EventId, Job, Lane, Result, RunBatch, Series, Settlement, SystemTx,
    TenantId, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::deliveries::DeliveryId;
use crate::endpoints::{EndpointId, place};
use crate::request::{Message, Reply, send};
use crate::signature::Secret;

/// After the first request and each retry but the last: how long until the next, give or take a
/// tenth.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
    Duration::from_secs(80),
];
/// Requests to receivers.
static REQUESTS: Series = Series {
    name: "freehold_webhook_requests",
    help: "Requests to receivers of webhooks by what came of them",
    label: "outcome",
};
const OFF: &str = "the webhook is switched off; switch it on and retry";

const GIVEN_UP: &str = "a fault on our side kept it from being sent; retry it";

/// One delivery, to be tried now.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Deliver {
    /// The delivery.
    pub(crate) delivery: DeliveryId,
    /// Where it goes: what jobs at the same receiver have in common.
    pub(crate) endpoint: EndpointId,
    /// Void once the delivery has been retried by hand, which begins another turn.
    pub(crate) turn: i32,
}

/// A receiver said 410 Gone, so nothing more is sent to it.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDisabled)]
#[event(type = "webhook.disabled", subject = webhook_id)]
pub(crate) struct WebhookDisabled {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Why.
    #[schema(example = "the receiver answered 410 Gone")]
    reason: &'static str,
}

/// What is to be done about a delivery.
pub(crate) enum Plan {
    /// Make a request.
    Send(Box<Message>),
    /// The endpoint is switched off.
    Off,
    /// It was removed, has arrived, or another job has its turn.
    Nothing,
}

/// What was done.
pub(crate) enum Outcome {
    /// A request was made, the nth.
    Sent(u32, Reply),
    /// None, for the endpoint is switched off.
    Off,
    /// None, for there was nothing to do.
    Nothing,
}

impl Job for Deliver {
    const KIND: &'static str = "webhooks.deliver";
    const LANE: Lane = Lane::Standard;
    /// The log of deliveries says more.
    const KEPT: bool = false;

    fn key(&self) -> Option<String> {
        Some(self.endpoint.to_string())
    }

    /// Only for failures of ours: those of the receiver are [settled](Settlement::Again).
    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 20).then(|| Duration::from_secs(u64::from(failures.min(30))))
    }

    /// What waits for nothing any more must not look as if it did.
    async fn given_up(tx: &mut SystemTx, claimed: &Claimed<Self>, _: &str) -> Result<()> {
        sqlx::query!(
            "update webhooks.deliveries
             set status = 'failed', next_attempt_at = null, error = $4
             where tenant_id = $1 and id = $2 and turn = $3 and status = 'pending'",
            *claimed.tenant,
            *claimed.job.delivery,
            claimed.job.turn,
            GIVEN_UP,
        )
        .execute(tx.db())
        .await?;
        Ok(())
    }
}

impl RunBatch for Deliver {
    type Plan = Plan;
    type Outcome = Outcome;

    async fn plan(tx: &mut SystemTx, jobs: &[Claimed<Self>]) -> Result<Vec<Plan>> {
        let tenants: Vec<Uuid> = jobs.iter().map(|claimed| *claimed.tenant).collect();
        let ids: Vec<Uuid> = jobs.iter().map(|claimed| *claimed.job.delivery).collect();
        let turns: Vec<i32> = jobs.iter().map(|claimed| claimed.job.turn).collect();
        let rows = sqlx::query!(
            r#"-- tidy: across tenants because a batch holds deliveries of many
             select j.place as "place!", w.id as endpoint, w.url, w.is_active, w.sealed_secret,
               d.event_id, d.event_type, d.attempts, e.data,
               coalesce(e.occurred_at, e.at) as "timestamp!: Timestamp"
             from unnest($1::uuid[], $2::uuid[], $3::int[]) with ordinality
               as j (tenant_id, id, turn, place)
             -- Laterals with a limit are looked up for each row, whatever the planner expects.
             cross join lateral (
               select * from webhooks.deliveries d
               where d.tenant_id = j.tenant_id and d.id = j.id limit 1) as d
             cross join lateral (
               select * from webhooks.endpoints w
               where w.tenant_id = d.tenant_id and w.id = d.endpoint_id limit 1) as w
             cross join lateral (
               select * from core.events e
               where e.tenant_id = d.tenant_id and e.at = d.event_at and e.id = d.event_id
               limit 1) as e
             where d.status = 'pending' and d.turn = j.turn"#,
            &tenants,
            &ids,
            &turns,
        )
        .fetch_all(tx.db())
        .await?;
        let mut plans: Vec<Plan> = jobs.iter().map(|_| Plan::Nothing).collect();
        for row in rows {
            // Counted from 1.
            let at = usize::try_from(row.place).unwrap_or_default().saturating_sub(1);
            let (Some(plan), Some(claimed)) = (plans.get_mut(at), jobs.get(at)) else { continue };
            // A test may be what tells whether to switch it on.
            if !row.is_active && row.event_type != "webhook.tested" {
                *plan = Plan::Off;
                continue;
            }
            let place = place(&row.endpoint);
            let secret = tx.open(claimed.tenant, &place, &row.sealed_secret).await?;
            *plan = Plan::Send(Box::new(Message {
                url: row.url,
                secret: Secret::from_bytes(secret),
                event: row.event_id,
                kind: row.event_type,
                timestamp: row.timestamp,
                data: row.data,
                number: u32::try_from(row.attempts).unwrap_or(u32::MAX).saturating_add(1),
            }));
        }
        Ok(plans)
    }

    fn cause(plan: &Plan) -> Option<EventId> {
        let Plan::Send(message) = plan else { return None };
        Some(message.event)
    }

    async fn run(plan: Plan, app: Arc<App>) -> Result<Outcome> {
        match plan {
            Plan::Send(message) => {
                let egress: Egress = app
                    .state()
                    .ok_or_else(|| Error::internal("webhooks need a way out of this machine"))?;
                let mut span = Span::of_call("POST to a receiver");
                let reply = send(&egress, app.config().clock.now(), &message).await?;
                span.answered(reply.http_status());
                app.metrics().count(&REQUESTS, reply.outcome());
                Ok(Outcome::Sent(message.number, reply))
            }
            Plan::Off => Ok(Outcome::Off),
            Plan::Nothing => Ok(Outcome::Nothing),
        }
    }

    async fn record(
        tx: &mut SystemTx,
        done: &[(Claimed<Self>, Outcome)],
    ) -> Result<Vec<Settlement>> {
        let (mut lines, mut gone) = (Vec::with_capacity(done.len()), Vec::new());
        let mut settlements = Vec::with_capacity(done.len());
        for (claimed, outcome) in done {
            let next = match outcome {
                Outcome::Sent(number, reply) => next(*number, reply)?,
                Outcome::Off | Outcome::Nothing => None,
            };
            lines.extend(Line::of(claimed, outcome, tx.now(claimed.tenant), next));
            if outcome.is_gone() {
                gone.push(claimed);
            }
            settlements.push(match (next, outcome) {
                (Some(after), Outcome::Sent(_, reply)) => {
                    Settlement::Again { after, why: reply.reason() }
                }
                _ => Settlement::Done,
            });
        }
        write(tx, lines).await?;
        switch_off(tx, &gone).await?;
        Ok(settlements)
    }
}

impl Reply {
    /// What the receiver answered; 0 when it did not.
    fn http_status(&self) -> u16 {
        self.status_code.and_then(|code| u16::try_from(code).ok()).unwrap_or_default()
    }

    /// In a word, for the metrics.
    fn outcome(&self) -> &'static str {
        match self.status_code {
            _ if self.arrived() => "delivered",
            Some(_) => "refused",
            None => "unreachable",
        }
    }
}

impl Outcome {
    /// Whether the receiver wants nothing more, ever.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Sent(_, Reply { status_code: Some(410), .. }))
    }
}

/// When the next request is due; `None` when it arrived, will never, or this was the last.
fn next(number: u32, reply: &Reply) -> Result<Option<Duration>> {
    if reply.arrived() || reply.status_code == Some(410) {
        return Ok(None);
    }
    wait(number, reply.retry_after)
}

/// How long until the next request after `failures` of them; `None` after the last.
fn wait(failures: u32, asked: Option<Duration>) -> Result<Option<Duration>> {
    let at = usize::try_from(failures).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(planned) = RETRIES.get(at) else { return Ok(None) };
    // 90 to 110 %, so that receivers that failed together do not come back together.
    let [dice] = random::<1>()?;
    let jittered = planned.mul_f64(0.9 + 0.2 * f64::from(dice) / 255.0);
    Ok(Some(asked.map_or(jittered, |asked| asked.max(jittered))))
}

/// What is written down about a delivery.
#[derive(Serialize)]
struct Line {
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
    fn of(
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
            Outcome::Sent(_, reply) => Some(Self {
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
async fn write(tx: &mut SystemTx, lines: Vec<Line>) -> Result<()> {
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
             status_code = case when d.turn <= l.turn then l.status_code else d.status_code end,
             error = case when d.turn <= l.turn then l.error else d.error end,
             next_attempt_at =
               case when d.turn <= l.turn then l.next_attempt_at else d.next_attempt_at end,
             delivered_at = case when l.status = 'delivered' then l.at else d.delivered_at end
           from l where d.tenant_id = l.tenant_id and d.id = l.id
           returning d.tenant_id, d.id, d.attempts
         )
         insert into webhooks.attempts
           (tenant_id, delivery_id, number, at, duration_ms, status_code, error, response_body)
         select c.tenant_id, c.id, c.attempts, l.at, l.duration_ms, l.status_code, l.error,
           l.response_body
         from changed c join l on l.tenant_id = c.tenant_id and l.id = c.id
         where l.requested",
        serde_json::to_value(lines)?,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

async fn switch_off(tx: &mut SystemTx, gone: &[&Claimed<Deliver>]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let tenants: Vec<Uuid> = gone.iter().map(|claimed| *claimed.tenant).collect();
    let ids: Vec<Uuid> = gone.iter().map(|claimed| *claimed.job.endpoint).collect();
    let switched = sqlx::query!(
        "-- tidy: across tenants because a batch holds deliveries of many
         update webhooks.endpoints w set is_active = false, version = version + 1
         from unnest($1::uuid[], $2::uuid[]) as g (tenant_id, id)
         where w.tenant_id = g.tenant_id and w.id = g.id and w.is_active
         returning w.tenant_id, w.id",
        &tenants,
        &ids,
    )
    .fetch_all(tx.db())
    .await?;
    for row in switched {
        let reason = "the receiver answered 410 Gone";
        let event = WebhookDisabled { webhook_id: row.id, reason };
        tx.emit(TenantId::from_uuid(row.tenant_id), event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_requests_are_made_the_last_five_after_5_10_20_40_and_80_seconds() {
        for (failures, seconds) in [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 80.0)] {
            let planned = wait(failures, None).unwrap().unwrap().as_secs_f64();
            assert!((seconds * 0.9..=seconds * 1.1).contains(&planned), "{failures}: {planned}");
        }
        assert_eq!(wait(6, None).unwrap(), None);
        assert_eq!(wait(1, Some(Duration::from_secs(60))).unwrap(), Some(Duration::from_secs(60)));
    }
}
