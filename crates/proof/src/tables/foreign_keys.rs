//! Foreign keys: a row of one tenant cannot point at a row of another.

use sqlx::AssertSqlSafe;

use crate::Result;

use super::Sweep;
use super::attempt::{NO_SUCH_ROW, NOT_ALLOWED, Outcome};
use super::table::{ForeignKey, Table};

impl Sweep<'_> {
    pub(super) async fn foreign_keys(&mut self, table: &Table) -> Result<()> {
        for key in table.foreign_keys(self.subject).await? {
            let carries_tenant = ("tenant_id".to_owned(), "tenant_id".to_owned());
            if !key.columns.contains(&carries_tenant) {
                let sentence = format!(
                    "the foreign key {} does not carry tenant_id; write foreign key \
                     (tenant_id, …) references {} (tenant_id, …)",
                    key.name, key.target
                );
                self.report(table, &sentence);
            }
            self.point_across(table, &key).await?;
        }
        Ok(())
    }

    /// Points a row of `a` at a row of `b`.
    async fn point_across(&mut self, table: &Table, key: &ForeignKey) -> Result<()> {
        let Some(values) = self.target_of_b(key).await? else { return Ok(()) };
        let own: Vec<&String> = key
            .columns
            .iter()
            .filter(|(here, _)| here != "tenant_id")
            .map(|(here, _)| here)
            .collect();
        let sets = own.iter().zip(&values).map(|(column, value)| {
            value.as_ref().map_or_else(
                || format!("{column} = null"),
                |value| format!("{column} = '{}'", value.replace('\'', "''")),
            )
        });
        let statement = format!(
            "update {} set {} where tenant_id = '{}'",
            table.name,
            sets.collect::<Vec<_>>().join(", "),
            self.a.uuid()
        );
        let outcome = self.attempt(Some(self.a), &statement).await?;
        // A row that is refused for another reason (a check, a unique key) was not let through.
        let went_through = matches!(outcome, Outcome::Rows(rows) if rows > 0);
        let expected = outcome.is_refused_with(NO_SUCH_ROW) || outcome.is_refused_with(NOT_ALLOWED);
        if went_through && !expected {
            let sentence = format!(
                "a row of one tenant can point at {} of another through {}; write foreign key \
                 (tenant_id, …) references {} (tenant_id, …)",
                key.target, key.name, key.target
            );
            self.report(table, &sentence);
        }
        Ok(())
    }

    /// What names a row of `b` that `a` has nothing like, without the tenant.
    async fn target_of_b(&self, key: &ForeignKey) -> Result<Option<Vec<Option<String>>>> {
        let theirs: Vec<&String> = key
            .columns
            .iter()
            .filter(|(here, _)| here != "tenant_id")
            .map(|(_, there)| there)
            .collect();
        if theirs.is_empty() {
            return Ok(None);
        }
        let texts: Vec<_> = theirs.iter().map(|column| format!("b.{column}::text")).collect();
        let same: Vec<_> = theirs.iter().map(|column| format!("a.{column} = b.{column}")).collect();
        let query = format!(
            "select array[{}] from {target} b where b.tenant_id = $1 and not exists
             (select from {target} a where a.tenant_id = $2 and {}) limit 1",
            texts.join(", "),
            same.join(" and "),
            target = key.target,
        );
        let found = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(*self.b)
            .bind(*self.a)
            .fetch_optional(&self.subject.superuser)
            .await?;
        Ok(found)
    }
}
