//! The other tenant's rows, before and after.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freehold_kernel::TenantId;
use sqlx::AssertSqlSafe;

use crate::{Error, Result, Subject};

/// How long work for a tenant may still go on.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every table whose rows belong to tenants or people.
const TABLES: &str = "
select c.oid::regclass::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and pg_get_userbyid(n.nspowner) = 'freehold_owner'
  and obj_description(c.oid, 'pg_class') ~ '^(tenant|claims|global): '
  and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
order by 1";

/// A checksum of each table's rows of one tenant.
pub(super) struct Untouched(BTreeMap<String, (i64, String)>);

impl Untouched {
    pub(super) async fn look(subject: &Subject, tenant: TenantId) -> Result<Self> {
        let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&subject.superuser).await?;
        let mut sums = BTreeMap::new();
        for table in tables {
            let query = format!(
                "select count(*), coalesce(md5(string_agg(t::text, '|' order by t::text)), '')
                 from {table} t where tenant_id = $1"
            );
            let sum = sqlx::query_as(AssertSqlSafe(query))
                .bind(*tenant)
                .fetch_one(&subject.superuser)
                .await?;
            sums.insert(table, sum);
        }
        Ok(Self(sums))
    }

    /// A sentence for each table that is not what it was.
    pub(super) fn differences(&self, after: &Self) -> Vec<String> {
        let changed = self.0.iter().filter(|(table, sum)| after.0.get(*table) != Some(sum));
        changed
            .map(|(table, (rows, _))| {
                let left = after.0.get(table).map_or(0, |(rows, _)| *rows);
                format!(
                    "the rows of the other tenant in {table} are not what they were ({rows} \
                     before, {left} after): somebody else's request changed them; find the \
                     statement that writes this table without `tenant_id = $n` or outside of Tx"
                )
            })
            .collect()
    }
}

/// Waits until nothing is left to be done for a tenant, so that what changes later was not its own
/// doing.
pub(super) async fn settle(subject: &Subject, tenant: TenantId) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: i64 = sqlx::query_scalar(
            "select (select count(*) from core.outbox where tenant_id = $1)
                  + (select count(*) from core.jobs where tenant_id = $1)",
        )
        .bind(*tenant)
        .fetch_one(&subject.superuser)
        .await?;
        if left == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            let said = format!("{left} pieces of work of the other tenant do not come to an end");
            return Err(Error::Missing(said));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
