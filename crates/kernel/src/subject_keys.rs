//! Keys that seal the personal part of events: one per person and tenant, so that destroying it
//! erases the person from the audit log while the log's digests still verify.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use serde_json::{Map, Value};

use crate::changes::Change;
use crate::crypto::{self, KeyId, Keyring, SealingKey};
use crate::database::Db;
use crate::directory::{TenantId, UserId};
use crate::error::{Error, Result};
use crate::event::EventId;
use crate::time::Timestamp;
use crate::tx::{AccountTx, SystemTx, Tx, Work};

/// An event's sealed part, and what is needed to open it.
pub struct SealedPart<'a> {
    /// The event.
    pub event: EventId,
    /// What it happened to.
    pub subject: &'a str,
    /// Who did it.
    pub actor: &'a str,
    /// The sealed part as stored, if it has one.
    pub sealed: Option<&'a [u8]>,
}

impl Tx {
    /// Opens the sealed parts of events of this tenant, in one statement and in their order. `None`
    /// where there is none, or its key has been destroyed.
    ///
    /// # Errors
    /// When the database fails, or a row was altered.
    pub async fn open_personal(
        &mut self,
        parts: &[SealedPart<'_>],
    ) -> Result<Vec<Option<Map<String, Value>>>> {
        let (tenant, app) = (self.tenant(), self.app().clone());
        open(self.db(), app.keyring(), tenant, parts).await
    }
}

impl Tx {
    /// Seals a secret of this tenant under the tenant's own key. `place` (table, column, row) must
    /// be given again to open it.
    ///
    /// # Errors
    /// When the key cannot be had.
    pub async fn seal(&mut self, place: &[&[u8]], plain: &[u8]) -> Result<Vec<u8>> {
        let tenant = self.tenant();
        let (key, _) = subject_key(self.work_mut(), tenant, tenant.to_string()).await?;
        Ok(key.seal(&crypto::sha256(place), plain)?)
    }

    /// Opens what [`Tx::seal`] sealed for the same place.
    ///
    /// # Errors
    /// When it was sealed elsewhere, altered, or its key is gone.
    pub async fn open(&mut self, place: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>> {
        let tenant = self.tenant();
        let (key, _) = subject_key(self.work_mut(), tenant, tenant.to_string()).await?;
        Ok(key.open(&crypto::sha256(place), sealed)?)
    }
}

impl SystemTx {
    /// As [`Tx::open`], for a tenant of the batch.
    ///
    /// # Errors
    /// When it was sealed elsewhere, altered, or its key is gone.
    pub async fn open(
        &mut self,
        tenant: TenantId,
        place: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Vec<u8>> {
        let app = self.work_mut().origin().app.clone();
        let name = (tenant, tenant.to_string());
        let key = match app.subject_keys().0.get(&name) {
            Some(key) => key,
            None => {
                let subject = std::slice::from_ref(&name.1);
                let mut kept = load_keys(self.db(), app.keyring(), tenant, subject).await?;
                let key = kept.remove(&name.1).map(Arc::new).ok_or_else(|| {
                    Error::internal(format!("the key that seals secrets of {tenant} is gone"))
                })?;
                app.subject_keys().0.insert(name, key.clone());
                key
            }
        };
        Ok(key.open(&crypto::sha256(place), sealed)?)
    }
}

impl AccountTx {
    /// The same for events of any tenant.
    ///
    /// # Errors
    /// When the database fails, or a row was altered.
    pub async fn open_personal(
        &mut self,
        tenant: TenantId,
        parts: &[SealedPart<'_>],
    ) -> Result<Vec<Option<Map<String, Value>>>> {
        let keyring = self.keyring().clone();
        open(self.db(), &keyring, tenant, parts).await
    }
}

async fn open(
    db: &mut Db,
    keyring: &Keyring,
    tenant: TenantId,
    parts: &[SealedPart<'_>],
) -> Result<Vec<Option<Map<String, Value>>>> {
    let people: Vec<String> =
        parts.iter().map(|part| person(part.subject, part.actor, tenant)).collect();
    let keys = load_keys(db, keyring, tenant, &people).await?;
    let open_one = |(part, person): (&SealedPart<'_>, &String)| {
        let (Some(sealed), Some(key)) = (part.sealed, keys.get(person)) else { return Ok(None) };
        let plain = key.open(&place(tenant, part.event), sealed)?;
        Ok(Some(serde_json::from_slice(&plain)?))
    };
    parts.iter().zip(&people).map(open_one).collect()
}

/// Whose data the sealed part of an event is: the person it happened to, else the one who did it,
/// else the tenant's own. Read off the row, so that the key can be found again.
pub(crate) fn person(subject: &str, actor: &str, tenant: TenantId) -> String {
    [subject, actor]
        .into_iter()
        .find(|id| id.parse::<UserId>().is_ok())
        .map_or_else(|| tenant.to_string(), ToOwned::to_owned)
}

/// What binds a sealed part to its row.
pub(crate) fn place(tenant: TenantId, id: EventId) -> [u8; 32] {
    crypto::sha256(&[b"core.events.personal", tenant.as_bytes(), id.as_bytes()])
}

/// A key made in a transaction, remembered once that is committed.
pub(crate) struct NewKey {
    pub(crate) tenant: TenantId,
    pub(crate) subject: String,
    key: Arc<SealingKey>,
}

/// Keys of people whose data was sealed lately, so that sealing needs no query.
pub(crate) struct SubjectKeys(Cache<(TenantId, String), Arc<SealingKey>>);

impl Default for SubjectKeys {
    fn default() -> Self {
        Self(Cache::new(50_000))
    }
}

impl SubjectKeys {
    /// A key was destroyed: nothing may be sealed with it any more.
    pub(crate) fn forget(&self, change: &Change) {
        let named = change.subject.split_once('/').filter(|_| change.topic == "subject_key");
        let Some((tenant, subject)) = named else { return };
        if let Ok(tenant) = tenant.parse() {
            self.0.invalidate(&(tenant, subject.to_owned()));
        }
    }

    pub(crate) fn remember(&self, keys: Vec<NewKey>) {
        for NewKey { tenant, subject, key } in keys {
            self.0.insert((tenant, subject), key);
        }
    }
}

/// The key that seals what concerns `subject`; made when there is none.
pub(crate) async fn subject_key(
    work: &mut Work,
    tenant: TenantId,
    subject: String,
) -> Result<(Arc<SealingKey>, Option<NewKey>)> {
    if let Some(known) = work.new_key(tenant, &subject) {
        return Ok((known.key.clone(), None));
    }
    let app = work.origin().app.clone();
    let name = (tenant, subject);
    if let Some(key) = app.subject_keys().0.get(&name) {
        return Ok((key, None));
    }
    let (_, subject) = name;
    let now = app.config().clock.now();
    if work.is_wide() {
        // At sign-up the person is being made right here: nobody else can want their key yet. When
        // a subscriber or a schedule makes one, others wait for its COMMIT, which is never far.
        let key = load_or_make_key(work.db(), app.keyring(), tenant, &subject, now).await?;
        let key = Arc::new(key);
        return Ok((key.clone(), Some(NewKey { tenant, subject, key })));
    }
    // In a transaction of its own, so that a person's second request never waits for the first
    // one's COMMIT. Wide transactions never do this, so the two pools cannot wait for each other.
    let mut tx = AccountTx::begin(work.origin().clone()).await?;
    let key = load_or_make_key(tx.db(), app.keyring(), tenant, &subject, now).await?;
    let key = Arc::new(key);
    tx.commit().await?;
    app.subject_keys().0.insert((tenant, subject), key.clone());
    Ok((key, None))
}

async fn load_or_make_key(
    db: &mut Db,
    keyring: &Keyring,
    tenant: TenantId,
    subject: &str,
    now: Timestamp,
) -> Result<SealingKey> {
    let place = key_place(tenant, subject);
    let bytes: [u8; 32] = crypto::random()?;
    let sealed = keyring.seal("subject key", &place, &bytes)?;
    let made = sqlx::query!(
        "insert into core.subject_keys (tenant_id, subject, sealed_key, created_at)
         values ($1, $2, $3, $4) on conflict do nothing",
        *tenant,
        subject,
        sealed,
        now as _,
    )
    .execute(&mut *db)
    .await?;
    if made.rows_affected() == 1 {
        return Ok(SealingKey::from_bytes(&bytes)?);
    }
    let mut kept = load_keys(db, keyring, tenant, &[subject.to_owned()]).await?;
    kept.remove(subject).ok_or_else(|| {
        Error::unavailable("core.busy", "What concerns this person is being erased.", 1)
    })
}

/// The keys of these people, by their id; those that were destroyed are missing.
async fn load_keys(
    db: &mut Db,
    keyring: &Keyring,
    tenant: TenantId,
    subjects: &[String],
) -> Result<HashMap<String, SealingKey>> {
    let rows = sqlx::query!(
        "select subject, sealed_key from core.subject_keys
         where tenant_id = $1 and subject = any($2)",
        *tenant,
        subjects,
    )
    .fetch_all(db)
    .await?;
    let mut keys = HashMap::with_capacity(rows.len());
    for row in rows {
        let place = key_place(tenant, &row.subject);
        let key = keyring.open("subject key", &place, &row.sealed_key)?;
        keys.insert(row.subject, SealingKey::from_bytes(&key)?);
    }
    Ok(keys)
}

/// Seals a batch of keys anew that are sealed under one of these secret keys. Answers under which
/// the batch was.
pub(crate) async fn reseal(
    db: &mut Db,
    keyring: &Keyring,
    under: &[Vec<u8>],
    batch: i64,
) -> Result<Vec<KeyId>> {
    let rows = sqlx::query!(
        "-- tidy: across tenants because the secret key is one for all
         select tenant_id, subject, sealed_key from core.subject_keys
         where substring(sealed_key for 4) = any($1) limit $2 for update skip locked",
        under,
        batch,
    )
    .fetch_all(&mut *db)
    .await?;
    let (mut tenants, mut subjects, mut sealed, mut were) = (vec![], vec![], vec![], vec![]);
    for row in rows {
        let place = key_place(TenantId::from_uuid(row.tenant_id), &row.subject);
        match keyring.reseal("subject key", &place, &row.sealed_key) {
            Ok((was, key)) => {
                were.push(was);
                tenants.push(row.tenant_id);
                subjects.push(row.subject);
                sealed.push(key);
            }
            // One row that was tampered with must not keep all others from their new key.
            Err(error) => {
                let (tenant, subject) = (row.tenant_id, row.subject);
                tracing::error!(%tenant, subject, %error, "a subject key cannot be sealed anew");
            }
        }
    }
    sqlx::query!(
        "-- tidy: across tenants because each row is named with its tenant
         update core.subject_keys k set sealed_key = n.sealed_key
         from unnest($1::uuid[], $2::text[], $3::bytea[]) as n (tenant_id, subject, sealed_key)
         where k.tenant_id = n.tenant_id and k.subject = n.subject",
        &tenants,
        &subjects,
        &sealed,
    )
    .execute(db)
    .await?;
    Ok(were)
}

fn key_place(tenant: TenantId, subject: &str) -> [u8; 32] {
    crypto::sha256(&[b"core.subject_keys", tenant.as_bytes(), subject.as_bytes()])
}
