//! The job behind every delivery: many are planned together, sent side by side, and written down
//! together.

use std::sync::Arc;
use std::time::Duration;

use freehold_egress::Egress;
use freehold_kernel::trace::Span;
use freehold_kernel::{
    App, Claimed, Error, EventId, Job, KeyLimits, Lane, Priority, Result, RunBatch, Series,
    Settlement, SystemTx, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::types::Json as Kept;
use uuid::Uuid;

use crate::deliveries::DeliveryId;
use crate::endpoints::{EndpointId, place};
use crate::health::{self, Breakers, GONE_STATUS, Sign, is_about_deliveries};
use crate::options::{self, CONCURRENCY, Headers, Options};
use crate::record::{HELD, Line, write};
use crate::request::{Message, Reply, send};
use crate::retries::{jittered, next};
use crate::signature::Secret;

/// Requests to receivers.
static REQUESTS: Series = Series {
    name: "freehold_webhook_requests",
    help: "Requests to receivers of webhooks by what came of them",
    label: "outcome",
};
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
    /// Why it is sent.
    #[serde(default)]
    pub(crate) reason: Reason,
}

/// Why something is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// It happened.
    #[default]
    Event,
    /// Somebody asked for it, and waits.
    Asked,
    /// It was missed; what happens now goes first.
    Replay,
}

/// What is to be done about a delivery.
pub(crate) enum Plan {
    /// Make a request.
    Send(Box<Request>),
    /// The endpoint is switched off.
    Off,
    /// It was removed, has arrived, or another job has its turn.
    Nothing,
}

/// A request to make.
pub(crate) struct Request {
    message: Message,
    endpoint: EndpointId,
    customer: Option<String>,
    options: Options,
    /// The receiver had failed when this was planned.
    had_failed: bool,
    /// However it fails.
    at_once: bool,
}

/// What was done.
pub(crate) enum Outcome {
    /// A request was made.
    Sent {
        /// What was sent, and to whom.
        request: Box<Request>,
        /// What came of it.
        reply: Reply,
        /// The receiver had failed before.
        had_failed: bool,
    },
    /// None, for the receiver fails and is left alone for so long.
    Held(Duration),
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
    /// Endpoints may say otherwise.
    const PER_KEY: usize = CONCURRENCY;

    fn key(&self) -> Option<String> {
        Some(self.endpoint.to_string())
    }

    fn priority(&self) -> Priority {
        match self.reason {
            Reason::Event => Priority::Normal,
            Reason::Asked => Priority::High,
            Reason::Replay => Priority::Low,
        }
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
        let now = tx.real_now();
        let rows = sqlx::query!(
            r#"-- tidy: across tenants because a batch holds deliveries of many
             select j.place as "place!", w.id as endpoint, w.customer, w.url, w.is_active, w.signing,
               w.sealed_secret, w.sealed_headers, w.options as "options: Kept<Options>",
               w.failing_since, d.event_id, d.event_type, d.attempts - d.attempts_before as "tried!",
               e.data::text as "data!",
               case when w.previous_until > $4 then w.previous_sealed_secret end as previous_secret,
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
            now as _,
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
            let sealed = Sealed {
                secrets: [Some(row.sealed_secret), row.previous_secret],
                headers: row.sealed_headers,
            };
            let (secrets, headers) = sealed.open(tx, claimed, &row.signing).await?;
            let message = Message {
                url: row.url,
                secrets,
                headers,
                event: row.event_id,
                kind: row.event_type,
                timestamp: row.timestamp,
                data: compact(&row.data)?,
                number: u32::try_from(row.tried).unwrap_or(u32::MAX).saturating_add(1),
            };
            *plan = Plan::Send(Box::new(Request {
                message,
                endpoint: row.endpoint,
                customer: row.customer,
                options: row.options.0,
                had_failed: row.failing_since.is_some(),
                at_once: claimed.job.reason == Reason::Asked,
            }));
        }
        Ok(plans)
    }

    fn limits(plan: &Plan) -> Option<KeyLimits> {
        let Plan::Send(request) = plan else { return None };
        Some(request.options.limits())
    }

    fn cause(plan: &Plan) -> Option<EventId> {
        let Plan::Send(request) = plan else { return None };
        Some(request.message.event)
    }

    async fn run(plan: Plan, app: Arc<App>) -> Result<Outcome> {
        match plan {
            Plan::Send(request) => make(request, &app).await,
            Plan::Off => Ok(Outcome::Off),
            Plan::Nothing => Ok(Outcome::Nothing),
        }
    }

    async fn record(
        tx: &mut SystemTx,
        done: &[(Claimed<Self>, Outcome)],
    ) -> Result<Vec<Settlement>> {
        let (mut lines, mut signs) = (Vec::with_capacity(done.len()), Vec::new());
        let mut settlements = Vec::with_capacity(done.len());
        for (claimed, outcome) in done {
            let (settlement, after) = outcome.settlement()?;
            let at = tx.now(claimed.tenant);
            lines.extend(Line::of(claimed, outcome, at, after));
            signs.extend(outcome.sign(claimed, at, after.is_none()));
            settlements.push(settlement);
        }
        write(tx, lines).await?;
        health::note(tx, signs).await?;
        Ok(settlements)
    }
}

/// JSON without the spaces that PostgreSQL writes. As text: hundreds of these wait for their turn.
fn compact(data: &str) -> Result<Box<RawValue>> {
    let data: Value = serde_json::from_str(data)?;
    Ok(to_raw_value(&data)?)
}

/// What is kept sealed of an endpoint.
struct Sealed {
    /// The one that is in use, and the one before it while that holds.
    secrets: [Option<Vec<u8>>; 2],
    headers: Option<Vec<u8>>,
}

impl Sealed {
    async fn open(
        self,
        tx: &mut SystemTx,
        claimed: &Claimed<Deliver>,
        signing: &str,
    ) -> Result<(Vec<Secret>, Headers)> {
        let (tenant, endpoint) = (claimed.tenant, &claimed.job.endpoint);
        let mut secrets = Vec::with_capacity(1);
        for sealed in self.secrets.into_iter().flatten() {
            let bytes = tx.open(tenant, &place(endpoint), &sealed).await?;
            secrets.push(Secret::from_bytes(signing, bytes));
        }
        let headers = match self.headers {
            None => Headers::new(),
            Some(sealed) => {
                let text = tx.open(tenant, &options::place(endpoint), &sealed).await?;
                serde_json::from_slice(&text)?
            }
        };
        Ok((secrets, headers))
    }
}

/// Makes the request, unless its receiver is left alone.
async fn make(request: Box<Request>, app: &App) -> Result<Outcome> {
    let state = |what| Error::internal(format!("webhooks need {what}"));
    let egress: Egress = app.state().ok_or_else(|| state("a way out of this machine"))?;
    let breakers: Breakers = app.state().ok_or_else(|| state("to know who fails"))?;
    if !request.at_once
        && let Err(wait) = breakers.ask(request.endpoint)
    {
        return Ok(Outcome::Held(wait));
    }
    let mut span = Span::of_call("POST to a receiver");
    let reply = send(&egress, app.config().clock.now(), &request.message).await?;
    span.answered(reply.http_status());
    // Requests under way at once were planned before any of them failed.
    let had_failed = breakers.note(request.endpoint, reply.arrived()) || request.had_failed;
    app.metrics().count(&REQUESTS, reply.outcome());
    Ok(Outcome::Sent { request, reply, had_failed })
}

impl Request {
    /// Where it goes.
    pub(crate) fn url(&self) -> &str {
        &self.message.url
    }
}

impl Outcome {
    /// What becomes of the job, and after how long it is tried again, if it is.
    fn settlement(&self) -> Result<(Settlement, Option<Duration>)> {
        let (after, why) = match self {
            Self::Sent { request, reply, .. } => {
                let schedule = request.options.retry_seconds.as_deref();
                (next(request.message.number, reply, schedule)?, reply.reason())
            }
            // Those that wait for the same receiver come back one after the other.
            Self::Held(wait) => (Some(jittered(wait.mul_f64(1.25), 0.4)?), HELD.to_owned()),
            Self::Off | Self::Nothing => (None, String::new()),
        };
        Ok(match after {
            Some(after) => (Settlement::Again { after, why }, Some(after)),
            None => (Settlement::Done, None),
        })
    }

    /// What it says of the receiver.
    fn sign(&self, claimed: &Claimed<Deliver>, at: Timestamp, ends: bool) -> Option<Sign> {
        let Self::Sent { request, reply, had_failed } = self else { return None };
        let is_about_deliveries = is_about_deliveries(&request.message.kind);
        if is_about_deliveries && reply.status_code != Some(GONE_STATUS) {
            return None;
        }
        Some(Sign {
            tenant: claimed.tenant,
            endpoint: request.endpoint,
            customer: request.customer.clone(),
            url: request.message.url.clone(),
            delivery: claimed.job.delivery,
            event: request.message.event,
            at,
            arrived: reply.arrived(),
            had_failed: *had_failed,
            was_last: ends && !reply.arrived() && !is_about_deliveries,
            status_code: reply.status_code,
            error: reply.error.clone(),
        })
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
