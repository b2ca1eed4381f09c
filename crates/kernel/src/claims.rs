//! Claims: uniqueness in the whole installation, and look-up by a secret or a name, without
//! telling one tenant anything about another.

use crate::crypto::sha256;
use crate::database::Db;
use crate::directory::TenantId;
use crate::error::{Error, OnConstraint, Result};
use crate::housekeeping::Left;
use crate::time::Timestamp;
use crate::tx::{AccountTx, SystemTx, Tx};

/// How many expired claims one transaction removes.
const BATCH: i64 = 1000;

/// Whom a claimed key belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The tenant.
    pub tenant: TenantId,
    /// The thing that was named when the claim was made.
    pub subject: uuid::Uuid,
}

fn key_hash(kind: &str, key: &[u8]) -> [u8; 32] {
    sha256(&[b"claim", kind.as_bytes(), key])
}

pub(crate) async fn take(
    db: &mut Db,
    tenant: TenantId,
    kind: &str,
    key: &[u8],
    subject: uuid::Uuid,
) -> Result<()> {
    sqlx::query!(
        "insert into core.claims (tenant_id, kind, key_hash, subject_id)
         values ($1, $2, $3, $4)",
        *tenant,
        kind,
        &key_hash(kind, key),
        subject,
    )
    .execute(db)
    .await
    .on_constraint("claims_pkey", || Error::conflict("core.claimed", "This is taken."))?;
    Ok(())
}

/// Lets a tenant's claim end at a moment, or never. Answers whether the tenant has it.
pub(crate) async fn expire(
    db: &mut Db,
    tenant: TenantId,
    kind: &str,
    key: &[u8],
    at: Option<Timestamp>,
) -> Result<bool> {
    let changed = sqlx::query!(
        "update core.claims set expires_at = $4
         where tenant_id = $1 and kind = $2 and key_hash = $3",
        *tenant,
        kind,
        &key_hash(kind, key),
        at as _,
    )
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// How many claims of a tenant are going to end.
pub(crate) async fn count_expiring(
    db: &mut Db,
    tenant: TenantId,
    kind: &str,
    now: Timestamp,
) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from core.claims
           where tenant_id = $1 and kind = $2 and expires_at > $3"#,
        *tenant,
        kind,
        now as _,
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// Whom `key` belongs to, if anybody.
pub(crate) async fn find(
    db: &mut Db,
    kind: &str,
    key: &[u8],
    now: Timestamp,
) -> Result<Option<Claim>> {
    let row = sqlx::query!(
        "-- tidy: across tenants because the key is what tells the tenant
         select tenant_id, subject_id from core.claims
         where kind = $1 and key_hash = $2 and (expires_at is null or expires_at > $3)",
        kind,
        &key_hash(kind, key),
        now as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Claim { tenant: TenantId::from_uuid(row.tenant_id), subject: row.subject_id }))
}

/// Removes claims that have expired, so that what they held is free again. A schedule's tick.
pub(crate) async fn forget_expired(tx: &mut SystemTx) -> Result<Left> {
    let now = tx.real_now();
    let removed = sqlx::query!(
        "-- tidy: across tenants because one statement cleans up after all
         delete from core.claims where (kind, key_hash) in (
           select kind, key_hash from core.claims where expires_at <= $1 limit $2)",
        now as _,
        BATCH,
    )
    .execute(tx.db())
    .await?;
    Ok(Left::after(removed.rows_affected(), BATCH))
}

impl Tx {
    /// Takes `key` for `subject`, in the whole installation.
    ///
    /// # Errors
    /// 409 `core.claimed`, which says nothing about who holds it.
    pub async fn claim(&mut self, kind: &str, key: &[u8], subject: uuid::Uuid) -> Result<()> {
        let tenant = self.tenant();
        take(self.db(), tenant, kind, key, subject).await
    }

    /// Gives a claim of this tenant back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_claim(&mut self, kind: &str, key: &[u8]) -> Result<()> {
        let tenant = self.tenant();
        sqlx::query!(
            "delete from core.claims where tenant_id = $1 and kind = $2 and key_hash = $3",
            *tenant,
            kind,
            &key_hash(kind, key),
        )
        .execute(self.db())
        .await?;
        Ok(())
    }
}

impl AccountTx {
    /// Takes `key` for a tenant, in the whole installation.
    ///
    /// # Errors
    /// 409 `core.claimed`, which says nothing about who holds it.
    pub async fn claim(
        &mut self,
        tenant: TenantId,
        kind: &str,
        key: &[u8],
        subject: uuid::Uuid,
    ) -> Result<()> {
        take(self.db(), tenant, kind, key, subject).await
    }

    /// Whom `key` belongs to, if anybody.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resolve(&mut self, kind: &str, key: &[u8]) -> Result<Option<Claim>> {
        let now = self.real_now();
        find(self.db(), kind, key, now).await
    }
}
