//! How receivers do: when one begins to fail, accepts again, fails for too long or wants no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freehold_egress::{Breaker, BreakerRules};
use freehold_kernel::{Event, EventId, Result, SystemTx, TenantId, Timestamp};
use moka::sync::Cache;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::deliveries::DeliveryId;
use crate::endpoints::EndpointId;

/// A receiver that has accepted nothing for so long is switched off.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5 * 24 * 60 * 60);
const GONE: &str = "the receiver answered 410 Gone";
/// Of an answer: nothing more is wanted, for good.
pub(crate) const GONE_STATUS: i32 = 410;
const FAILING: &str = "the receiver has accepted nothing for 5 days";

/// After so many failures in a row nothing but a probe is sent, for a while that gets longer.
const RULES: BreakerRules = BreakerRules {
    failures: 10,
    cool_down: Duration::from_secs(5),
    longest: Duration::from_secs(60),
};

/// What is held back comes again one by one, so far apart at the least: a receiver that is dead for
/// days may have a million deliveries, and looking at all of them again and again would be all that
/// a node does.
const APART: Duration = Duration::from_millis(4);

/// Receivers that are remembered, and for how long after the last request or thought of one; those
/// that fail beyond that are tried as their schedule says.
const REMEMBERED_MAX: u64 = 10_000;
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// A receiver that accepted what it got has begun to fail.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDeliveryFailed)]
#[event(type = "webhook.delivery.failed", subject = webhook_id)]
pub(crate) struct DeliveryFailed {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Whose endpoint it is: your own id of your customer; null for one of yours.
    #[schema(example = "cust_4711")]
    customer: Option<String>,
    /// The delivery whose request failed; it is tried again.
    delivery_id: DeliveryId,
    /// The status of the answer, if there was one.
    #[schema(example = 503)]
    status_code: Option<i32>,
    /// What went wrong.
    #[schema(example = "the receiver answered 503")]
    error: Option<String>,
}

/// A delivery was tried as often as its schedule says, and is not tried again by itself.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDeliveryExhausted)]
#[event(type = "webhook.delivery.exhausted", subject = webhook_id)]
pub(crate) struct DeliveryExhausted {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Whose endpoint it is: your own id of your customer; null for one of yours.
    #[schema(example = "cust_4711")]
    customer: Option<String>,
    /// The delivery; retry it, or replay the time in which it failed.
    delivery_id: DeliveryId,
    /// The event that did not arrive.
    event_id: EventId,
    /// What went wrong at last.
    #[schema(example = "the receiver answered 503")]
    error: Option<String>,
}

/// A receiver that had failed accepts again.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDeliveryRecovered)]
#[event(type = "webhook.delivery.recovered", subject = webhook_id)]
pub(crate) struct DeliveryRecovered {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Whose endpoint it is: your own id of your customer; null for one of yours.
    #[schema(example = "cust_4711")]
    customer: Option<String>,
    /// Since when it had failed.
    failing_since: Timestamp,
}

/// A receiver wants nothing more, or has accepted nothing for days: nothing is sent to it until
/// somebody switches it on again.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDisabled)]
#[event(type = "webhook.disabled", subject = webhook_id)]
pub(crate) struct WebhookDisabled {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Whose endpoint it is: your own id of your customer; null for one of yours.
    #[schema(example = "cust_4711")]
    customer: Option<String>,
    /// Why.
    #[schema(example = "the receiver answered 410 Gone")]
    reason: &'static str,
}

/// What one request says of its receiver.
pub(crate) struct Sign {
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: EndpointId,
    pub(crate) customer: Option<String>,
    /// Where it went. Should the endpoint lead elsewhere by now, a failure says nothing of that.
    pub(crate) url: String,
    pub(crate) delivery: DeliveryId,
    pub(crate) event: EventId,
    /// When it was made, by the tenant's clock.
    pub(crate) at: Timestamp,
    pub(crate) arrived: bool,
    /// The receiver may have failed before.
    pub(crate) had_failed: bool,
    /// It was the last one of its delivery, and failed.
    pub(crate) was_last: bool,
    pub(crate) status_code: Option<i32>,
    pub(crate) error: Option<String>,
}

/// Events about deliveries say nothing about the receivers that they are sent to: or a receiver that
/// fails every other time would be told of itself for ever.
pub(crate) fn is_about_deliveries(kind: &str) -> bool {
    kind.starts_with("webhook.delivery.") || kind == "webhook.disabled"
}

/// Writes down what requests say of their receivers, and tells whoever listens.
pub(crate) async fn note(tx: &mut SystemTx, signs: Vec<Sign>) -> Result<()> {
    let (arrived, failed): (Vec<_>, Vec<_>) = signs.into_iter().partition(|sign| sign.arrived);
    let gone = failed.iter().filter(|sign| sign.status_code == Some(GONE_STATUS));
    switch_off(tx, &one_each(gone)).await?;
    let living = |sign: &&Sign| arrived.iter().all(|other| other.endpoint != sign.endpoint);
    fail(tx, &one_each(failed.iter().filter(living))).await?;
    recover(tx, &one_each(arrived.iter().filter(|sign| sign.had_failed))).await?;
    for sign in failed.into_iter().filter(|sign| sign.was_last) {
        let event = DeliveryExhausted {
            webhook_id: sign.endpoint,
            customer: sign.customer,
            delivery_id: sign.delivery,
            event_id: sign.event,
            error: sign.error,
        };
        tx.emit(sign.tenant, event).await?;
    }
    Ok(())
}

/// One of each receiver, the last one of a delivery if there is one. In one order, so that no two
/// transactions wait for each other.
fn one_each<'a>(signs: impl Iterator<Item = &'a Sign>) -> Vec<&'a Sign> {
    let mut each = BTreeMap::new();
    for sign in signs {
        let chosen = each.entry((*sign.tenant, *sign.endpoint)).or_insert(sign);
        if sign.was_last {
            *chosen = sign;
        }
    }
    each.into_values().collect()
}

fn ids(signs: &[&Sign]) -> (Vec<Uuid>, Vec<Uuid>) {
    signs.iter().map(|sign| (*sign.tenant, *sign.endpoint)).unzip()
}

/// Those that begin to fail are told of; those that have failed for too long are switched off, once
/// a delivery has been tried as often as its schedule says: a receiver that is seldom called must
/// not be lost to a failure that one retry would mend.
async fn fail(tx: &mut SystemTx, failed: &[&Sign]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let (tenants, endpoints) = ids(failed);
    let urls: Vec<&str> = failed.iter().map(|sign| sign.url.as_str()).collect();
    let ats: Vec<Timestamp> = failed.iter().map(|sign| sign.at).collect();
    let limit = |sign: &&Sign| sign.was_last.then_some(sign.at - GIVEN_UP_AFTER);
    let limits: Vec<Option<Timestamp>> = failed.iter().map(limit).collect();
    let changed = sqlx::query!(
        r#"-- tidy: across tenants because a batch holds deliveries of many
         update webhooks.endpoints w
         set failing_since = coalesce(w.failing_since, f.at),
           is_active = w.failing_since is null,
           disabled_reason = case when w.failing_since is not null then $6 end,
           version = version + (w.failing_since is not null)::int
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[])
           as f (tenant_id, id, at, given_up, url)
         where w.tenant_id = f.tenant_id and w.id = f.id and w.is_active and w.url = f.url
           and (w.failing_since is null or w.failing_since < f.given_up)
         returning w.tenant_id, w.id, w.is_active"#,
        &tenants,
        &endpoints,
        ats as _,
        limits as _,
        &urls as _,
        FAILING,
    )
    .fetch_all(tx.db())
    .await?;
    for row in changed {
        let Some(sign) = failed.iter().find(|sign| sign.endpoint == row.id) else { continue };
        let (webhook_id, customer) = (row.id, sign.customer.clone());
        if row.is_active {
            let event = DeliveryFailed {
                webhook_id,
                customer,
                delivery_id: sign.delivery,
                status_code: sign.status_code,
                error: sign.error.clone(),
            };
            tx.emit(sign.tenant, event).await?;
        } else {
            let event = WebhookDisabled { webhook_id, customer, reason: FAILING };
            tx.emit(sign.tenant, event).await?;
        }
    }
    Ok(())
}

async fn recover(tx: &mut SystemTx, arrived: &[&Sign]) -> Result<()> {
    if arrived.is_empty() {
        return Ok(());
    }
    let (tenants, endpoints) = ids(arrived);
    let changed = sqlx::query!(
        r#"-- tidy: across tenants because a batch holds deliveries of many
         with failing as (
           select w.tenant_id, w.id, w.failing_since
           from unnest($1::uuid[], $2::uuid[]) as r (tenant_id, id)
           join webhooks.endpoints w on w.tenant_id = r.tenant_id and w.id = r.id
           where w.failing_since is not null
           for update of w
         )
         update webhooks.endpoints w set failing_since = null
         from failing f where w.tenant_id = f.tenant_id and w.id = f.id
         returning w.id, f.failing_since as "failing_since!: Timestamp""#,
        &tenants,
        &endpoints,
    )
    .fetch_all(tx.db())
    .await?;
    for row in changed {
        let Some(sign) = arrived.iter().find(|sign| sign.endpoint == row.id) else { continue };
        let event = DeliveryRecovered {
            webhook_id: row.id,
            customer: sign.customer.clone(),
            failing_since: row.failing_since,
        };
        tx.emit(sign.tenant, event).await?;
    }
    Ok(())
}

async fn switch_off(tx: &mut SystemTx, gone: &[&Sign]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let (tenants, endpoints) = ids(gone);
    let urls: Vec<&str> = gone.iter().map(|sign| sign.url.as_str()).collect();
    let switched = sqlx::query!(
        "-- tidy: across tenants because a batch holds deliveries of many
         update webhooks.endpoints w
         set is_active = false, disabled_reason = $4, version = version + 1
         from unnest($1::uuid[], $2::uuid[], $3::text[]) as g (tenant_id, id, url)
         where w.tenant_id = g.tenant_id and w.id = g.id and w.is_active and w.url = g.url
         returning w.id",
        &tenants,
        &endpoints,
        &urls as _,
        GONE,
    )
    .fetch_all(tx.db())
    .await?;
    for row in switched {
        let Some(sign) = gone.iter().find(|sign| sign.endpoint == row.id) else { continue };
        let customer = sign.customer.clone();
        let event = WebhookDisabled { webhook_id: row.id, customer, reason: GONE };
        tx.emit(sign.tenant, event).await?;
    }
    Ok(())
}

/// What this node knows of receivers that fail. One node sends to an endpoint at a time, so what it
/// knows is all there is to know; another one begins anew.
#[derive(Clone)]
pub(crate) struct Breakers(Cache<EndpointId, Arc<Mutex<Failing>>>);

/// A receiver that fails.
struct Failing {
    breaker: Breaker,
    /// When the last of those that were held back comes again.
    last_held: Instant,
}

impl Default for Breakers {
    fn default() -> Self {
        let failing = Cache::builder().max_capacity(REMEMBERED_MAX).time_to_idle(REMEMBERED);
        Self(failing.build())
    }
}

impl Breakers {
    /// Whether a request may be made now.
    ///
    /// # Errors
    /// How long it is to wait. Those that are held back wait longer the more of them there are.
    pub(crate) fn ask(&self, endpoint: EndpointId) -> Result<(), Duration> {
        let Some(failing) = self.0.get(&endpoint) else { return Ok(()) };
        let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        failing.breaker.ask(now).map_err(|wait| {
            failing.last_held = (failing.last_held + APART).max(now + wait);
            failing.last_held - now
        })
    }

    /// How a request went; whether the receiver had failed before. Only those that fail are
    /// remembered.
    pub(crate) fn note(&self, endpoint: EndpointId, arrived: bool) -> bool {
        if arrived {
            return self.0.remove(&endpoint).is_some();
        }
        let anew = || {
            let (breaker, last_held) = (Breaker::new(RULES), Instant::now());
            Arc::new(Mutex::new(Failing { breaker, last_held }))
        };
        let failing = self.0.get_with(endpoint, anew);
        let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.breaker.failed(Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_held_back_the_longer_it_waits_and_a_probe_goes_when_it_is_due() {
        let (breakers, endpoint) = (Breakers::default(), EndpointId::new());
        assert!((0..RULES.failures).all(|_| {
            let may = breakers.ask(endpoint).is_ok();
            breakers.note(endpoint, false);
            may
        }));
        let waits: Vec<Duration> =
            (0..1_000).map(|_| breakers.ask(endpoint).unwrap_err()).collect();
        assert!(waits[0] <= RULES.cool_down && waits[0] > RULES.cool_down / 2);
        let spread = waits[999] - waits[0];
        assert!(spread > APART * 900 && spread < APART * 1_000, "{spread:?}");
        assert!(breakers.note(endpoint, true), "it had failed");
        assert!(breakers.ask(endpoint).is_ok() && !breakers.note(endpoint, true));
    }
}
