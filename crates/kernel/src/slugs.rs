//! Slugs: a tenant's name in URLs, unique in the installation. A slug that a tenant has given up
//! leads to it for 30 days more, and nobody else can take it meanwhile.

use std::time::Duration;

use crate::claims;
use crate::database::Db;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::tx::{PlatformTx, Tx};

/// What slugs are claimed as.
pub(crate) const KIND: &str = "tenant_slug";
/// How long a former slug leads to its tenant.
const REDIRECTS_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many former slugs a tenant may hold: names that nobody uses are still names taken.
const FORMER_MAX: i64 = 5;

impl Tx {
    /// Claims `to` for this tenant and lets `from` lead to it for 30 days more. The caller holds the
    /// tenant's row and writes the slug there.
    ///
    /// # Errors
    /// 409 `core.slug_taken`; 409 `core.renamed_too_often` for a tenant that holds five former slugs.
    pub async fn rename_slug(&mut self, from: &str, to: &str) -> Result<()> {
        let (tenant, now) = (self.tenant(), self.real_now());
        rename(self.db(), tenant, from, to, now).await
    }
}

impl PlatformTx {
    /// As [`Tx::rename_slug`], for any tenant.
    ///
    /// # Errors
    /// The same.
    pub async fn rename_slug(&mut self, tenant: TenantId, from: &str, to: &str) -> Result<()> {
        let now = self.real_now();
        rename(self.db(), tenant, from, to, now).await
    }

    /// The tenant that a slug leads to, be it the one in use or a former one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tenant_by_slug(&mut self, slug: &str) -> Result<Option<TenantId>> {
        let now = self.real_now();
        let claim = claims::find(self.db(), KIND, slug.as_bytes(), now).await?;
        Ok(claim.map(|claim| claim.tenant))
    }
}

async fn rename(db: &mut Db, tenant: TenantId, from: &str, to: &str, now: Timestamp) -> Result<()> {
    // One's own former slug is taken back. The claim comes first: two who want each other's slugs
    // must not wait for each other.
    if !claims::expire(db, tenant, KIND, to.as_bytes(), None).await? {
        claims::take(db, tenant, KIND, to.as_bytes(), *tenant).await.map_err(taken)?;
    }
    claims::expire(db, tenant, KIND, from.as_bytes(), Some(now + REDIRECTS_FOR)).await?;
    if claims::count_expiring(db, tenant, KIND, now).await? > FORMER_MAX {
        return Err(Error::conflict(
            "core.renamed_too_often",
            format!("A tenant holds {FORMER_MAX} former slugs at the most, each for 30 days."),
        ));
    }
    Ok(())
}

/// Says so in the words of slugs.
pub(crate) fn taken(error: Error) -> Error {
    if error.code() == "core.claimed" {
        return Error::conflict("core.slug_taken", "This slug is taken.");
    }
    error
}
