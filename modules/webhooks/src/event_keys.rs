//! The callers' own ids of their events: for 48 hours the same id is the same event.

use std::collections::HashMap;
use std::time::Duration;

use freehold_kernel::{Db, Error, EventId, Result, SystemTx, TenantId, Timestamp};
use uuid::Uuid;

use crate::TIDIED_AT_ONCE;

/// How long an `id` of the caller's stands for the same event.
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// An id of the caller's and what it stands for.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) tenant: TenantId,
    pub(crate) text: String,
    pub(crate) event: EventId,
    /// Of all that the event says.
    pub(crate) fingerprint: [u8; 32],
}

/// What an id stood for before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing; it stands for its event now.
    Fresh,
    /// The same content, under this id of ours.
    Same(EventId),
    /// Something else.
    Other,
}

/// Takes these ids, each there once; answers what they stood for, in their order. Waits for another
/// transaction that has one of them in hand.
pub(crate) async fn hold(db: &mut Db, now: Timestamp, keys: &[Key]) -> Result<Vec<Known>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut sorted: Vec<&Key> = keys.iter().collect();
    // In one order, so that two transactions with the same ids never wait for each other.
    sorted.sort_unstable_by_key(|key| key.place());
    let tenants: Vec<Uuid> = sorted.iter().map(|key| *key.tenant).collect();
    let texts: Vec<&str> = sorted.iter().map(|key| key.text.as_str()).collect();
    let events: Vec<Uuid> = sorted.iter().map(|key| *key.event).collect();
    let prints: Vec<&[u8]> = sorted.iter().map(|key| key.fingerprint.as_slice()).collect();
    let fresh = sqlx::query!(
        "-- tidy: across tenants because requests of many share a transaction
         insert into webhooks.event_keys as k (tenant_id, key, event_id, fingerprint, created_at)
         select tenant_id, key, event_id, fingerprint, $5
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[])
           as n (tenant_id, key, event_id, fingerprint)
         on conflict (tenant_id, key) do update
         set event_id = excluded.event_id, fingerprint = excluded.fingerprint,
           created_at = excluded.created_at
         where k.created_at <= $6
         returning event_id",
        &tenants,
        &texts as _,
        &events,
        &prints as _,
        now as _,
        (now - KEPT) as _,
    )
    .fetch_all(&mut *db)
    .await?;
    if fresh.len() == keys.len() {
        return Ok(vec![Known::Fresh; keys.len()]);
    }
    let earlier = earlier(db, &tenants, &texts).await?;
    Ok(keys.iter().map(|key| key.known(&earlier)).collect())
}

type Earlier = HashMap<(Uuid, String), (EventId, Vec<u8>)>;

/// A statement of its own: it sees what those committed that were waited for.
async fn earlier(db: &mut Db, tenants: &[Uuid], texts: &[&str]) -> Result<Earlier> {
    let rows = sqlx::query!(
        r#"-- tidy: across tenants because requests of many share a transaction
         select k.tenant_id, k.key, k.event_id as "event_id: EventId", k.fingerprint
         from unnest($1::uuid[], $2::text[]) as n (tenant_id, key)
         join webhooks.event_keys k on k.tenant_id = n.tenant_id and k.key = n.key"#,
        tenants,
        texts as _,
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|row| ((row.tenant_id, row.key), (row.event_id, row.fingerprint))).collect())
}

/// Gives back what a request held that is refused.
pub(crate) async fn give_back(tx: &mut SystemTx, keys: &[Key]) -> Result<()> {
    let tenants: Vec<Uuid> = keys.iter().map(|key| *key.tenant).collect();
    let texts: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
    let events: Vec<Uuid> = keys.iter().map(|key| *key.event).collect();
    sqlx::query!(
        "-- tidy: across tenants because requests of many share a transaction
         delete from webhooks.event_keys k
         using unnest($1::uuid[], $2::text[], $3::uuid[]) as n (tenant_id, key, event_id)
         where k.tenant_id = n.tenant_id and k.key = n.key and k.event_id = n.event_id",
        &tenants,
        &texts as _,
        &events,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

impl Key {
    /// What makes it one of a kind.
    pub(crate) fn place(&self) -> (Uuid, &str) {
        (*self.tenant, &self.text)
    }

    fn known(&self, earlier: &Earlier) -> Known {
        match earlier.get(&(*self.tenant, self.text.clone())) {
            Some((event, _)) if *event == self.event => Known::Fresh,
            Some((event, print)) if *print == self.fingerprint => Known::Same(*event),
            Some(_) => Known::Other,
            // It is gone since: nobody can say any more what it stood for.
            None => Known::Fresh,
        }
    }
}

/// The refusal of an id that stands for something else; with the place in the body, if that is known.
pub(crate) fn reused(place: &str) -> Error {
    let which = if place.is_empty() { String::new() } else { format!(" ({place}/id)") };
    Error::conflict(
        "webhooks.id_reused",
        format!("An id came with another event before{which}; use a new one."),
    )
}

/// Forgets ids whose time is over. A schedule's tick.
pub(crate) async fn forget(tx: &mut SystemTx) -> Result<()> {
    let before = tx.real_now() - KEPT;
    sqlx::query!(
        "-- tidy: across tenants because one statement cleans up after all
         with recursive tenants as (
           (select tenant_id from webhooks.event_keys order by tenant_id limit 1)
           union all
           select n.tenant_id from tenants t cross join lateral (
             select tenant_id from webhooks.event_keys where tenant_id > t.tenant_id
             order by tenant_id limit 1) as n
         ), old as (
           select k.ctid from tenants t cross join lateral (
             select ctid from webhooks.event_keys
             where tenant_id = t.tenant_id and created_at < $1
             order by created_at limit $2 for update skip locked) as k
           limit $2
         )
         delete from webhooks.event_keys k using old where k.ctid = old.ctid",
        before as _,
        TIDIED_AT_ONCE,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}
