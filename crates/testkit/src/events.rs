//! What happened, as the audit log has it: so that a test asserts the answer *and* the event.

use freehold_kernel::{EventId, SealedPart, TenantId, Timestamp};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::app::TestApp;

/// A row of `core.events`.
#[derive(Clone, Debug, FromRow)]
pub struct RecordedEvent {
    /// The tenant it happened in.
    #[sqlx(rename = "tenant_id")]
    pub tenant: Uuid,
    /// Its id.
    pub id: Uuid,
    /// When it happened.
    pub at: Timestamp,
    /// `freehold` or `custom`.
    pub source: String,
    /// `<resource>.<past tense>`.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// For whom, when an operator acted.
    pub on_behalf_of: Option<String>,
    /// What it happened to.
    pub subject: String,
    /// The request that did it.
    pub request_id: Option<String>,
    /// What a webhook would carry.
    pub data: Value,
    /// The sealed part; [`TestApp::opened`] opens it.
    pub personal: Option<Vec<u8>>,
    /// The digest of the row as stored.
    pub digest: Vec<u8>,
}

impl TestApp {
    /// Everything that happened in a tenant, oldest first.
    pub async fn events(&self, tenant: impl Into<TenantId>) -> Vec<RecordedEvent> {
        sqlx::query_as("select * from core.events where tenant_id = $1 order by id")
            .bind(*tenant.into())
            .fetch_all(self.sql())
            .await
            .expect("the events of a tenant")
    }

    /// What happened last in a tenant.
    pub async fn last_event(&self, tenant: impl Into<TenantId>) -> RecordedEvent {
        self.events(tenant).await.pop().expect("an event; nothing has happened in this tenant")
    }

    /// The sealed part of an event: personal fields, before and after, address and user agent.
    /// Null when there is none, or when the person's key has been destroyed.
    pub async fn opened(&self, event: &RecordedEvent) -> Value {
        let mut tx = self.kernel().account_tx().await.expect("a transaction");
        let part = SealedPart {
            event: EventId::from_uuid(event.id),
            subject: &event.subject,
            actor: &event.actor,
            sealed: event.personal.as_deref(),
        };
        let opened = tx.open_personal(TenantId::from_uuid(event.tenant), &[part]).await;
        let opened = opened.expect("the sealed part opens with the key of the person it is about");
        opened.into_iter().flatten().next().map_or(Value::Null, Value::Object)
    }
}
