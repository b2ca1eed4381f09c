//! The job that makes one request to one receiver and writes down what came of it.

use std::time::{Duration, Instant};

use freehold_egress::{Answer, Egress, HeaderName, HeaderValue, Request};
use freehold_kernel::crypto::random;
use freehold_kernel::{Error, Event, Job, JobCx, Lane, Result, Timestamp, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::deliveries::DeliveryId;
use crate::endpoints::{EndpointId, place};
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
/// How much of an answer is kept.
const KEPT_BODY: usize = 4 * 1024;

/// One delivery, to be tried now.
#[derive(Serialize, Deserialize)]
pub(crate) struct Deliver {
    /// The delivery.
    pub(crate) delivery: DeliveryId,
    /// Where it goes: what jobs at the same receiver have in common.
    pub(crate) endpoint: EndpointId,
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

/// What is to be sent where.
struct Plan {
    url: String,
    is_active: bool,
    sealed_secret: Vec<u8>,
    event_id: freehold_kernel::EventId,
    event_type: String,
    event_at: Timestamp,
    data: Value,
    status: String,
}

/// What came of a request.
struct Outcome {
    status_code: Option<i32>,
    error: Option<String>,
    body: Option<String>,
    duration_ms: i32,
    retry_after: Option<Duration>,
}

impl Job for Deliver {
    const KIND: &'static str = "webhooks.deliver";
    const LANE: Lane = Lane::Standard;

    fn key(&self) -> Option<String> {
        Some(self.endpoint.to_string())
    }

    /// Only for failures of ours: those of the receiver are repeated by [`Deliver::run`] itself.
    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 20).then(|| Duration::from_secs(u64::from(failures.min(30))))
    }

    async fn run(self, cx: JobCx) -> Result<()> {
        let Some((plan, secret)) = self.plan(&cx).await? else {
            let mut tx = cx.tx().await?;
            cx.finish(&mut tx).await?;
            return tx.commit().await;
        };
        let egress = cx.state::<Egress>()?;
        let outcome = send(&egress, &cx, &plan, &secret).await?;
        self.record(&cx, &outcome).await
    }
}

impl Deliver {
    /// What to send; `None` when there is nothing to send any more.
    async fn plan(&self, cx: &JobCx) -> Result<Option<(Plan, Secret)>> {
        let mut tx = cx.tx().await?;
        let tenant = tx.tenant();
        let plan = sqlx::query_as!(
            Plan,
            "select w.url, w.is_active, w.sealed_secret, d.event_id, d.event_type, d.event_at,
               d.data, d.status
             from webhooks.deliveries d
             join webhooks.endpoints w on w.tenant_id = d.tenant_id and w.id = d.endpoint_id
             where d.tenant_id = $1 and d.id = $2",
            *tenant,
            *self.delivery,
        )
        .fetch_optional(tx.db())
        .await?;
        let Some(plan) = plan.filter(|plan| plan.is_active && plan.status == "pending") else {
            return Ok(None);
        };
        let secret = tx.open(&place(&self.endpoint), &plan.sealed_secret).await?;
        Ok(Some((plan, Secret::from_bytes(secret))))
    }

    /// The attempt, what it means for the delivery, and the end or repetition of this job: together.
    async fn record(&self, cx: &JobCx, outcome: &Outcome) -> Result<()> {
        let mut tx = cx.tx().await?;
        let number = self.log(&mut tx, outcome).await?;
        let arrived = outcome.status_code.is_some_and(|code| (200..300).contains(&code));
        let gone = outcome.status_code == Some(410);
        let next = if arrived || gone { None } else { wait(number, outcome.retry_after)? };
        let status = match (arrived, next) {
            (true, _) => "delivered",
            (false, Some(_)) => "pending",
            (false, None) => "failed",
        };
        let (tenant, now) = (tx.tenant(), tx.now());
        sqlx::query!(
            "update webhooks.deliveries
             set status = $3, status_code = $4, error = $5, next_attempt_at = $6, delivered_at = $7
             where tenant_id = $1 and id = $2",
            *tenant,
            *self.delivery,
            status,
            outcome.status_code,
            outcome.error,
            next.map(|wait| now + wait) as _,
            arrived.then_some(now) as _,
        )
        .execute(tx.db())
        .await?;
        if gone {
            self.switch_off(&mut tx).await?;
        }
        match next {
            Some(wait) => {
                let why = outcome.error.as_deref().unwrap_or("the receiver did not accept it");
                cx.repeat(&mut tx, wait, why).await?;
            }
            None => cx.finish(&mut tx).await?,
        }
        tx.commit().await
    }

    /// Writes the attempt down; answers which one it was since the delivery set out or was retried.
    async fn log(&self, tx: &mut Tx, outcome: &Outcome) -> Result<u32> {
        let (tenant, now) = (tx.tenant(), tx.now());
        let number = sqlx::query_scalar!(
            "update webhooks.deliveries set attempts = attempts + 1
             where tenant_id = $1 and id = $2 returning attempts",
            *tenant,
            *self.delivery,
        )
        .fetch_one(tx.db())
        .await?;
        sqlx::query!(
            "insert into webhooks.attempts
               (tenant_id, delivery_id, number, at, duration_ms, status_code, error, response_body)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            *tenant,
            *self.delivery,
            number,
            now as _,
            outcome.duration_ms,
            outcome.status_code,
            outcome.error,
            outcome.body,
        )
        .execute(tx.db())
        .await?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    async fn switch_off(&self, tx: &mut Tx) -> Result<()> {
        let tenant = tx.tenant();
        sqlx::query!(
            "update webhooks.endpoints set is_active = false, version = version + 1
             where tenant_id = $1 and id = $2",
            *tenant,
            *self.endpoint,
        )
        .execute(tx.db())
        .await?;
        let reason = "the receiver answered 410 Gone";
        tx.emit(WebhookDisabled { webhook_id: self.endpoint, reason }).await?;
        Ok(())
    }
}

/// One signed request. Everything that goes wrong on the way is an outcome, not an error.
async fn send(egress: &Egress, cx: &JobCx, plan: &Plan, secret: &Secret) -> Result<Outcome> {
    let now = cx.app().config().clock.now();
    let body = serde_json::to_vec(&json!({
        "type": plan.event_type, "timestamp": plan.event_at, "data": plan.data,
    }))?;
    let target = match egress.check_url(&plan.url) {
        Ok(target) => target,
        Err(refusal) => return Ok(Outcome::failed(refusal.to_string(), Duration::ZERO)),
    };
    let id = plan.event_id.to_string();
    let signed = [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.clone()),
        ("webhook-timestamp", now.unix_seconds().to_string()),
        ("webhook-signature", secret.sign(&id, now.unix_seconds(), &body)),
        ("x-webhook-signature", secret.sign_simply(&body)),
    ];
    let mut request = Request::post(target, body);
    for (name, value) in signed {
        let value = HeaderValue::from_str(&value).map_err(Error::internal)?;
        request = request.header(HeaderName::from_static(name), value);
    }
    let began = Instant::now();
    Ok(match egress.send(request).await {
        Ok(answer) => Outcome::of(&answer),
        Err(failure) => Outcome::failed(failure.to_string(), began.elapsed()),
    })
}

impl Outcome {
    fn of(answer: &Answer) -> Self {
        let kept = &answer.body[..answer.body.len().min(KEPT_BODY)];
        // U+0000 cannot be stored, and a receiver may well send it.
        let body = String::from_utf8_lossy(kept).replace('\0', "\u{fffd}");
        let error =
            (!answer.is_success()).then(|| format!("the receiver answered {}", answer.status));
        Self {
            status_code: Some(i32::from(answer.status)),
            error,
            body: Some(body),
            duration_ms: milliseconds(answer.total),
            retry_after: retry_after(answer),
        }
    }

    fn failed(error: String, after: Duration) -> Self {
        let duration_ms = milliseconds(after);
        Self { status_code: None, error: Some(error), body: None, duration_ms, retry_after: None }
    }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// What a receiver that is busy asks for, in seconds; at most an hour.
fn retry_after(answer: &Answer) -> Option<Duration> {
    if !matches!(answer.status, 429 | 503) {
        return None;
    }
    let seconds = answer.headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_secs(3600)))
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
