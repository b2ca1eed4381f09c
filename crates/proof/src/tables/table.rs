//! A tenant table as PostgreSQL's catalogue describes it.

use freehold_kernel::TenantId;
use sqlx::AssertSqlSafe;

use crate::{Result, Subject};

/// One table of the class `tenant` or `claims`; partitions have their parent's security.
pub(super) struct Table {
    oid: i64,
    /// With its schema, quoted where necessary.
    pub(super) name: String,
    /// Every column that can be written.
    pub(super) columns: Vec<String>,
    /// The columns of the primary key.
    pub(super) key: Vec<String>,
}

/// A foreign key from one tenant table to another.
pub(super) struct ForeignKey {
    pub(super) name: String,
    pub(super) target: String,
    /// Pairs of a column here and a column there.
    pub(super) columns: Vec<(String, String)>,
}

const ALL: &str = "
select c.oid::int8, c.oid::regclass::text,
  array(select quote_ident(attname) from pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = ''
        order by attnum),
  array(select quote_ident(a.attname) from pg_index i
        cross join lateral unnest(i.indkey) with ordinality as k (attnum, place)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where i.indrelid = c.oid and i.indisprimary order by k.place)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and pg_get_userbyid(n.nspowner) = 'freehold_owner'
  and obj_description(c.oid, 'pg_class') ~ '^(tenant|claims): '
order by 2";

const FOREIGN_KEYS: &str = "
select k.conname::text, k.confrelid::regclass::text,
  array(select quote_ident(a.attname) from unnest(k.conkey) with ordinality as n (attnum, place)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.attnum order by n.place),
  array(select quote_ident(a.attname) from unnest(k.confkey) with ordinality as n (attnum, place)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.attnum order by n.place)
from pg_constraint k
where k.conrelid = $1::int8::oid and k.contype = 'f' and k.conparentid = 0
  and obj_description(k.confrelid, 'pg_class') ~ '^(tenant|claims): '
order by 1";

impl Table {
    /// Every tenant table of the application.
    pub(super) async fn all(subject: &Subject) -> Result<Vec<Self>> {
        let rows: Vec<(i64, String, Vec<String>, Vec<String>)> =
            sqlx::query_as(ALL).fetch_all(&subject.superuser).await?;
        let tables =
            rows.into_iter().map(|(oid, name, columns, key)| Self { oid, name, columns, key });
        Ok(tables.collect())
    }

    /// Its foreign keys to tenant tables.
    pub(super) async fn foreign_keys(&self, subject: &Subject) -> Result<Vec<ForeignKey>> {
        let rows: Vec<(String, String, Vec<String>, Vec<String>)> =
            sqlx::query_as(FOREIGN_KEYS).bind(self.oid).fetch_all(&subject.superuser).await?;
        let keys = rows.into_iter().map(|(name, target, here, there)| ForeignKey {
            name,
            target,
            columns: here.into_iter().zip(there).collect(),
        });
        Ok(keys.collect())
    }

    /// Some row of a tenant, as JSON text, read past all security.
    pub(super) async fn row_of(
        &self,
        subject: &Subject,
        tenant: TenantId,
    ) -> Result<Option<String>> {
        let query =
            format!("select to_jsonb(t)::text from {} t where tenant_id = $1 limit 1", self.name);
        let row = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(*tenant)
            .fetch_optional(&subject.superuser)
            .await?;
        Ok(row)
    }

    /// An insert that copies a row given as JSON text.
    pub(super) fn copy(&self, row: &str) -> String {
        let (name, columns) = (&self.name, self.columns.join(", "));
        let row = row.replace('\'', "''");
        format!(
            "insert into {name} ({columns})
             select {columns} from jsonb_populate_record(null::{name}, '{row}')"
        )
    }
}
