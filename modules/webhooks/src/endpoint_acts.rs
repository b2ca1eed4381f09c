//! What is done to an endpoint besides changing it: another secret, on again, a test.

use std::time::Duration;

use freehold_kernel::{Event, Json, Path, Result, Routes, Timestamp, Tx, WithEtag, endpoint};
use serde::Serialize;
use utoipa::ToSchema;

use crate::deliver::{Deliver, Reason};
use crate::deliveries::DeliveryId;
use crate::endpoints::{Endpoint, EndpointId, EndpointWithSecret, find, place};
use crate::signature::Secret;

/// How long both secrets sign, so that a receiver can take its time to change over.
const BOTH: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/webhooks/{id}")
        .post("/rotate-secret", "webhooks:write", rotate_secret)
        .portal()
        .post("/enable", "webhooks:write", enable_webhook)
        .portal()
        .post("/test", "webhooks:write", test_webhook)
        .portal()
}

/// A test was asked for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::TestSent)]
struct TestSent {
    /// The delivery to look at.
    id: DeliveryId,
}

/// A webhook was switched on.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookEnabled)]
#[event(type = "webhook.enabled", subject = webhook_id)]
pub(crate) struct WebhookEnabled {
    /// The endpoint.
    pub(crate) webhook_id: EndpointId,
}

/// Somebody asked for a test; its receiver gets this event.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookTested)]
#[event(type = "webhook.tested", subject = webhook_id)]
pub(crate) struct WebhookTested {
    /// The endpoint.
    webhook_id: EndpointId,
}

/// A webhook got another signing secret.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookSecretRotated)]
#[event(type = "webhook.secret_rotated", subject = webhook_id)]
pub(crate) struct WebhookSecretRotated {
    /// The endpoint.
    webhook_id: EndpointId,
    /// Until when requests are signed with the secret before this one, too.
    previous_secret_until: Timestamp,
}

/// Give an endpoint another signing secret, shown once, in this answer.
///
/// For 24 hours requests are signed with the one before it, too. To end that sooner, as when it was
/// lost to somebody, do this again: then the one before is a secret that nobody has seen in use.
#[endpoint]
async fn rotate_secret(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<Json<EndpointWithSecret>> {
    let before = find(&mut tx, id).await?;
    let secret = Secret::generate(&before.signing)?;
    let sealed = tx.seal(&place(&id), secret.bytes()).await?;
    let (tenant, until) = (tx.tenant(), tx.real_now() + BOTH);
    sqlx::query!(
        "update webhooks.endpoints
         set previous_sealed_secret = sealed_secret, previous_until = $3, sealed_secret = $4,
           public_key = $5, version = version + 1
         where tenant_id = $1 and id = $2",
        *tenant,
        *id,
        until as _,
        sealed,
        secret.public_key()?,
    )
    .execute(tx.db())
    .await?;
    tx.emit(WebhookSecretRotated { webhook_id: id, previous_secret_until: until }).await?;
    let endpoint = find(&mut tx, id).await?;
    Ok(Json(EndpointWithSecret { endpoint, secret: secret.text() }))
}

/// Switch an endpoint on again. What it missed is not sent by itself: replay it.
#[endpoint]
async fn enable_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<WithEtag<Endpoint>> {
    find(&mut tx, id).await?;
    let tenant = tx.tenant();
    sqlx::query!(
        "update webhooks.endpoints
         set is_active = true, failing_since = null, disabled_reason = null, version = version + 1
         where tenant_id = $1 and id = $2",
        *tenant,
        *id,
    )
    .execute(tx.db())
    .await?;
    let endpoint = find(&mut tx, id).await?;
    tx.emit(WebhookEnabled { webhook_id: id }).await?;
    Ok(endpoint.into())
}

/// Send a `webhook.tested` event to this endpoint alone, whatever it subscribes to.
#[endpoint]
async fn test_webhook(Path(id): Path<EndpointId>, mut tx: Tx) -> Result<Json<TestSent>> {
    find(&mut tx, id).await?;
    let event = tx.emit(WebhookTested { webhook_id: id }).await?;
    let (tenant, now) = (tx.tenant(), tx.now());
    let made = sqlx::query!(
        r#"insert into webhooks.deliveries
             (tenant_id, id, endpoint_id, event_id, event_type, event_at, created_at)
           values ($1, webhooks.delivery_id($3, $2), $2, $3, 'webhook.tested', $4, $5)
           returning id as "id: DeliveryId", turn"#,
        *tenant,
        *id,
        *event.id,
        event.at as _,
        now as _,
    )
    .fetch_one(tx.db())
    .await?;
    tx.enqueue(&Deliver {
        delivery: made.id,
        endpoint: id,
        turn: made.turn,
        reason: Reason::Asked,
    })?;
    Ok(Json(TestSent { id: made.id }))
}
