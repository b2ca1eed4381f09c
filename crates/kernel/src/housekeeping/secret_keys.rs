//! The installation's secret key may change: what is sealed under an earlier one is sealed anew, in
//! batches, until the earlier one is no longer needed.
//!
//! `core.secret_keys` says which keys something may be sealed under. A node that lacks one of them
//! does not start, rather than fail on the first thing that does not open.

use std::sync::Arc;

use sqlx::PgExecutor;

use super::{Left, months};
use crate::app::App;
use crate::crypto::{KeyId, Keyring};
use crate::error::Result;
use crate::subject_keys;
use crate::tx::SystemTx;

/// How many rows of a table one transaction seals anew.
const BATCH: i64 = 1000;

/// Something in the database is sealed under secret keys that this process was not given.
#[derive(Debug, thiserror::Error)]
#[error(
    "this database holds what was sealed under another secret key ({}). Add the key that \
     FREEHOLD_SECRET_KEY was before to FREEHOLD_SECRET_KEY_PREVIOUS.",
    names(.0)
)]
pub struct UnknownKeys(Vec<Vec<u8>>);

/// Refuses to start without a key that is needed, and notes the key in use.
pub(crate) async fn admit(app: &Arc<App>) -> Result<Result<(), UnknownKeys>> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    if let Some(unknown) = unknown(tx.db(), app.keyring()).await? {
        return Ok(Err(unknown));
    }
    sqlx::query!(
        "insert into core.secret_keys (id) values ($1)
         on conflict (id) do update set started_at = clock_timestamp()",
        &app.keyring().key_id()?,
    )
    .execute(tx.db())
    .await?;
    tx.commit().await?;
    Ok(Ok(()))
}

/// The keys that are needed and not there.
async fn unknown<'c>(
    db: impl PgExecutor<'c>,
    keyring: &Keyring,
) -> Result<Option<UnknownKeys>, sqlx::Error> {
    let known: Vec<Vec<u8>> = keyring.key_ids().iter().map(|id| id.to_vec()).collect();
    let unknown =
        sqlx::query_scalar!("select id from core.secret_keys where id <> all($1)", &known)
            .fetch_all(db)
            .await?;
    Ok(UnknownKeys::among(unknown))
}

impl UnknownKeys {
    /// These, if there is one.
    pub(crate) fn among(ids: Vec<Vec<u8>>) -> Option<Self> {
        Some(ids).filter(|ids| !ids.is_empty()).map(Self)
    }
}

/// Seals a batch anew. Once nothing is left, says which keys may go.
pub(super) async fn reseal(app: &Arc<App>, tx: &mut SystemTx) -> Result<Left> {
    let keyring = app.keyring();
    let earlier: Vec<Vec<u8>> = keyring.key_ids().iter().skip(1).map(|id| id.to_vec()).collect();
    if earlier.is_empty() || !is_newest(tx, keyring.key_id()?).await? {
        return Ok(Left::Nothing);
    }
    let mut were = subject_keys::reseal(tx.db(), keyring, &earlier, BATCH).await?;
    were.extend(months::sign_anew(tx, keyring, &earlier, BATCH).await?);
    if !were.is_empty() {
        note_in_use(tx, were).await?;
        return Ok(Left::More);
    }
    if !is_any_left(tx, &earlier).await? {
        retire(tx, &earlier).await?;
    }
    Ok(Left::Nothing)
}

/// While nodes are restarted one by one with a new key, those that still use the earlier one must
/// not seal things back.
async fn is_newest(tx: &mut SystemTx, key: KeyId) -> Result<bool> {
    let newest =
        sqlx::query_scalar!("select id from core.secret_keys order by started_at desc limit 1")
            .fetch_optional(tx.db())
            .await?;
    Ok(newest.is_some_and(|id| id == key))
}

/// A node that ran on with an earlier key may have used it after it was retired.
async fn note_in_use(tx: &mut SystemTx, mut keys: Vec<KeyId>) -> Result<()> {
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<Vec<u8>> = keys.iter().map(|id| id.to_vec()).collect();
    sqlx::query!(
        "insert into core.secret_keys (id, started_at)
         select id, '-infinity' from unnest($1::bytea[]) as k (id) on conflict do nothing",
        &keys,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Kept answers are not sealed anew: they are gone after a day.
async fn is_any_left(tx: &mut SystemTx, earlier: &[Vec<u8>]) -> Result<bool> {
    let left = sqlx::query_scalar!(
        r#"-- tidy: across tenants because the secret key is one for all
         select exists (select from core.subject_keys where substring(sealed_key for 4) = any($1))
           or exists (select from core.event_gaps where substring(mac for 4) = any($1))
           or exists (select from core.idempotency_keys where substring(answer for 4) = any($1))
           as "left!""#,
        earlier,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(left)
}

async fn retire(tx: &mut SystemTx, earlier: &[Vec<u8>]) -> Result<()> {
    let retired = sqlx::query_scalar!(
        "delete from core.secret_keys where id = any($1) returning id",
        earlier
    )
    .fetch_all(tx.db())
    .await?;
    if !retired.is_empty() {
        // A warning, because it waits for a person to act.
        tracing::warn!(
            keys = names(&retired),
            "nothing in the kernel's tables is sealed under earlier secret keys any more"
        );
    }
    Ok(())
}

fn names(keys: &[Vec<u8>]) -> String {
    let name = |id: &Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    keys.iter().map(name).collect::<Vec<_>>().join(", ")
}
