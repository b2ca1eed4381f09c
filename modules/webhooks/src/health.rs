//! How receivers do: when one begins to fail, accepts again, fails for too long or wants no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freehold_egress::{Breaker, BreakerRules};
use freehold_kernel::{Event, EventId, Result, SystemTx, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::deliveries::DeliveryId;
use crate::endpoints::EndpointId;

/// A receiver that has accepted nothing for so long is switched off.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5 * 24 * 60 * 60);
const GONE: &str = "the receiver answered 410 Gone";
const FAILING: &str = "the receiver has accepted nothing for 5 days";

/// After so many failures in a row nothing but a probe is sent, for a while that gets longer.
const RULES: BreakerRules = BreakerRules {
    failures: 10,
    cool_down: Duration::from_secs(5),
    longest: Duration::from_secs(60),
};

/// Receivers that are remembered; those that fail beyond that are tried as their schedule says.
const REMEMBERED_MAX: usize = 10_000;

/// A receiver that accepted what it got has begun to fail.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookDeliveryFailed)]
#[event(type = "webhook.delivery.failed", subject = webhook_id)]
pub(crate) struct DeliveryFailed {
    /// The endpoint.
    webhook_id: EndpointId,
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
    /// Why.
    #[schema(example = "the receiver answered 410 Gone")]
    reason: &'static str,
}

/// What one request says of its receiver.
pub(crate) struct Sign {
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: EndpointId,
    pub(crate) delivery: DeliveryId,
    pub(crate) event: EventId,
    /// When it was made, by the tenant's clock.
    pub(crate) at: Timestamp,
    /// Since when the receiver had failed when the request was planned.
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) arrived: bool,
    /// It was the last one of its delivery.
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
    let gone: Vec<&Sign> = failed.iter().filter(|sign| sign.status_code == Some(410)).collect();
    switch_off(tx, &gone).await?;
    let living = |sign: &&Sign| arrived.iter().all(|other| other.endpoint != sign.endpoint);
    fail(tx, &one_each(failed.iter().filter(living))).await?;
    recover(tx, &one_each(arrived.iter().filter(|sign| sign.failing_since.is_some()))).await?;
    for sign in failed.iter().filter(|sign| sign.was_last) {
        let event = DeliveryExhausted {
            webhook_id: sign.endpoint,
            delivery_id: sign.delivery,
            event_id: sign.event,
            error: sign.error.clone(),
        };
        tx.emit(sign.tenant, event).await?;
    }
    Ok(())
}

/// One of each receiver.
fn one_each<'a>(signs: impl Iterator<Item = &'a Sign>) -> Vec<&'a Sign> {
    let each: HashMap<EndpointId, &Sign> = signs.map(|sign| (sign.endpoint, sign)).collect();
    let mut each: Vec<&Sign> = each.into_values().collect();
    // In one order, so that no two transactions wait for each other.
    each.sort_by_key(|sign| (*sign.tenant, *sign.endpoint));
    each
}

fn ids(signs: &[&Sign]) -> (Vec<Uuid>, Vec<Uuid>) {
    signs.iter().map(|sign| (*sign.tenant, *sign.endpoint)).unzip()
}

/// Those that begin to fail are told of; those that have failed for too long are switched off.
async fn fail(tx: &mut SystemTx, failed: &[&Sign]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let (tenants, endpoints) = ids(failed);
    let ats: Vec<Timestamp> = failed.iter().map(|sign| sign.at).collect();
    let limits: Vec<Timestamp> = failed.iter().map(|sign| sign.at - GIVEN_UP_AFTER).collect();
    let changed = sqlx::query!(
        r#"-- tidy: across tenants because a batch holds deliveries of many
         update webhooks.endpoints w
         set failing_since = coalesce(w.failing_since, f.at),
           is_active = w.failing_since is null,
           disabled_reason = case when w.failing_since is not null then $5 end,
           version = version + (w.failing_since is not null)::int
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[])
           as f (tenant_id, id, at, given_up)
         where w.tenant_id = f.tenant_id and w.id = f.id and w.is_active
           and (w.failing_since is null or w.failing_since < f.given_up)
         returning w.tenant_id, w.id, w.is_active"#,
        &tenants,
        &endpoints,
        ats as _,
        limits as _,
        FAILING,
    )
    .fetch_all(tx.db())
    .await?;
    for row in changed {
        let tenant = TenantId::from_uuid(row.tenant_id);
        let Some(sign) = failed.iter().find(|sign| sign.endpoint == row.id) else { continue };
        if row.is_active {
            let event = DeliveryFailed {
                webhook_id: row.id,
                delivery_id: sign.delivery,
                status_code: sign.status_code,
                error: sign.error.clone(),
            };
            tx.emit(tenant, event).await?;
        } else {
            tx.emit(tenant, WebhookDisabled { webhook_id: row.id, reason: FAILING }).await?;
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
        "-- tidy: across tenants because a batch holds deliveries of many
         update webhooks.endpoints w set failing_since = null
         from unnest($1::uuid[], $2::uuid[]) as r (tenant_id, id)
         where w.tenant_id = r.tenant_id and w.id = r.id and w.failing_since is not null
         returning w.id",
        &tenants,
        &endpoints,
    )
    .fetch_all(tx.db())
    .await?;
    for row in changed {
        let Some(sign) = arrived.iter().find(|sign| sign.endpoint == row.id) else { continue };
        let Some(failing_since) = sign.failing_since else { continue };
        tx.emit(sign.tenant, DeliveryRecovered { webhook_id: row.id, failing_since }).await?;
    }
    Ok(())
}

async fn switch_off(tx: &mut SystemTx, gone: &[&Sign]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let (tenants, endpoints) = ids(gone);
    let switched = sqlx::query!(
        "-- tidy: across tenants because a batch holds deliveries of many
         update webhooks.endpoints w
         set is_active = false, disabled_reason = $3, version = version + 1
         from unnest($1::uuid[], $2::uuid[]) as g (tenant_id, id)
         where w.tenant_id = g.tenant_id and w.id = g.id and w.is_active
         returning w.tenant_id, w.id",
        &tenants,
        &endpoints,
        GONE,
    )
    .fetch_all(tx.db())
    .await?;
    for row in switched {
        let event = WebhookDisabled { webhook_id: row.id, reason: GONE };
        tx.emit(TenantId::from_uuid(row.tenant_id), event).await?;
    }
    Ok(())
}

/// What this node knows of receivers that fail. One node sends to an endpoint at a time, so what it
/// knows is all there is to know; another one begins anew.
#[derive(Clone, Default)]
pub(crate) struct Breakers(Arc<Mutex<HashMap<EndpointId, Breaker>>>);

impl Breakers {
    /// Whether a request may be made now.
    ///
    /// # Errors
    /// How long the receiver is to be left alone.
    pub(crate) fn ask(&self, endpoint: EndpointId) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&endpoint).map_or(Ok(()), |breaker| breaker.ask(Instant::now()))
    }

    /// How a request went. Only receivers that fail are remembered.
    pub(crate) fn note(&self, endpoint: EndpointId, arrived: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived {
            all.remove(&endpoint);
        } else if all.len() < REMEMBERED_MAX || all.contains_key(&endpoint) {
            let breaker = all.entry(endpoint).or_insert_with(|| Breaker::new(RULES));
            breaker.failed(Instant::now());
        }
    }
}
