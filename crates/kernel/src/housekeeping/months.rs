//! Months of `core.events`: made ahead of need, dropped when their time is up. What was dropped is
//! noted per tenant and signed, so that a log which begins late can be told from one that was cut.

use std::sync::Arc;

use chrono::Months;

use super::Left;
use crate::app::App;
use crate::crypto::{KeyId, Keyring, sha256};
use crate::directory::TenantId;
use crate::error::Result;
use crate::time::Timestamp;
use crate::tx::{SystemTx, Tx};

const PURPOSE: &str = "event gap";

/// A month of a tenant's events that was dropped because its time was up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventGap {
    /// The first moment that is missing.
    pub from: Timestamp,
    /// The first moment that is there again.
    pub until: Timestamp,
    /// How many events there were.
    pub events: i64,
    /// Stands for their digests, in the order of time and id: `core.digest_chain`.
    pub digest: Vec<u8>,
    /// Whether this installation has written it so. If not, somebody has tampered with it.
    pub holds: bool,
}

impl Tx {
    /// The months of this tenant's events that were dropped, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event_gaps(&mut self) -> Result<Vec<EventGap>> {
        let (tenant, app) = (self.tenant(), self.app().clone());
        let rows = sqlx::query_as!(
            Row,
            "select tenant_id, from_at, until_at, events, digest, mac from core.event_gaps
             where tenant_id = $1 order by from_at",
            *tenant,
        )
        .fetch_all(self.db())
        .await?;
        let gap = |row: Row| EventGap {
            holds: row.holds(app.keyring()),
            from: row.from_at,
            until: row.until_at,
            events: row.events,
            digest: row.digest,
        };
        Ok(rows.into_iter().map(gap).collect())
    }
}

/// Three months ahead, so that a day's failure is nothing to anybody.
pub(crate) async fn make_partitions(tx: &mut SystemTx) -> Result<()> {
    let from = tx.real_now().date();
    sqlx::query_scalar!("select core.make_event_partitions($1, 3)", from)
        .fetch_one(tx.db())
        .await?;
    Ok(())
}

/// Drops the months that nobody keeps any more.
pub(super) async fn drop_old(app: &Arc<App>, tx: &mut SystemTx) -> Result<Left> {
    let kept = Months::new(app.config().limits.events_kept_months);
    // Longer than calendars go back is for ever.
    let Some(before) = tx.real_now().date().checked_sub_months(kept) else {
        return Ok(Left::Nothing);
    };
    // Reading a large month takes longer than any statement of a request may.
    sqlx::query_scalar!("select set_config('statement_timeout', '15min', true)")
        .fetch_one(tx.db())
        .await?;
    let dropped = sqlx::query_scalar!("select core.drop_event_partitions($1)", before)
        .fetch_one(tx.db())
        .await?;
    if dropped.is_some_and(|months| months > 0) {
        tracing::info!(months = dropped, "months of events were dropped");
        sign_new(tx, app.keyring()).await?;
    }
    Ok(Left::Nothing)
}

/// Signs what the owner's function has just noted: the database has no key to do it with.
async fn sign_new(tx: &mut SystemTx, keyring: &Keyring) -> Result<()> {
    let rows = sqlx::query_as!(
        Row,
        "-- tidy: across tenants because a month is dropped for all at once
         select tenant_id, from_at, until_at, events, digest, mac from core.event_gaps
         where mac is null",
    )
    .fetch_all(tx.db())
    .await?;
    write_macs(tx, keyring, &rows).await
}

/// Signs a batch of gaps anew that were signed with one of these secret keys. Answers with which.
pub(super) async fn sign_anew(
    tx: &mut SystemTx,
    keyring: &Keyring,
    under: &[Vec<u8>],
    batch: i64,
) -> Result<Vec<KeyId>> {
    let mut rows = sqlx::query_as!(
        Row,
        "-- tidy: across tenants because the secret key is one for all
         select tenant_id, from_at, until_at, events, digest, mac from core.event_gaps
         where substring(mac for 4) = any($1) limit $2 for update skip locked",
        under,
        batch,
    )
    .fetch_all(tx.db())
    .await?;
    rows.retain(|row| {
        let holds = row.holds(keyring);
        if !holds {
            // It stays as it is: a new signature would make it true.
            let (tenant, from) = (row.tenant_id, row.from_at);
            tracing::error!(%tenant, %from, "a note of dropped events was tampered with");
        }
        holds
    });
    write_macs(tx, keyring, &rows).await?;
    let key = |row: &Row| row.mac.as_ref().and_then(|mac| mac.first_chunk()).copied();
    Ok(rows.iter().filter_map(key).collect())
}

async fn write_macs(tx: &mut SystemTx, keyring: &Keyring, rows: &[Row]) -> Result<()> {
    let tenants: Vec<_> = rows.iter().map(|row| row.tenant_id).collect();
    let froms: Vec<_> = rows.iter().map(|row| row.from_at).collect();
    let macs = rows.iter().map(|row| row.signed(keyring)).collect::<Result<Vec<_>>>()?;
    sqlx::query!(
        "-- tidy: across tenants because each row is named with its tenant
         update core.event_gaps g set mac = n.mac
         from unnest($1::uuid[], $2::timestamptz[], $3::bytea[]) as n (tenant_id, from_at, mac)
         where g.tenant_id = n.tenant_id and g.from_at = n.from_at",
        &tenants,
        froms as _,
        &macs,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// A row of `core.event_gaps`.
struct Row {
    tenant_id: uuid::Uuid,
    from_at: Timestamp,
    until_at: Timestamp,
    events: i64,
    digest: Vec<u8>,
    mac: Option<Vec<u8>>,
}

impl Row {
    /// What is signed: everything that the row claims.
    fn message(&self) -> [u8; 32] {
        sha256(&[
            TenantId::from_uuid(self.tenant_id).as_bytes(),
            &self.from_at.unix_ms().to_be_bytes(),
            &self.until_at.unix_ms().to_be_bytes(),
            &self.events.to_be_bytes(),
            &self.digest,
        ])
    }

    /// The id of the key in use, then the authenticator.
    fn signed(&self, keyring: &Keyring) -> Result<Vec<u8>> {
        let mut mac = keyring.key_id()?.to_vec();
        mac.extend(keyring.authenticate(PURPOSE, &self.message())?);
        Ok(mac)
    }

    fn holds(&self, keyring: &Keyring) -> bool {
        let tag =
            self.mac.as_deref().and_then(|mac| mac.split_first_chunk::<{ size_of::<KeyId>() }>());
        tag.is_some_and(|(_, tag)| keyring.verifies(PURPOSE, &self.message(), tag))
    }
}
