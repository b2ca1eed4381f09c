//! Every verb, on the rows of another tenant.

use crate::Result;

use super::Sweep;
use super::attempt::{NOT_ALLOWED, Outcome};
use super::table::Table;

impl Sweep<'_> {
    pub(super) async fn rows(&mut self, table: &Table) -> Result<()> {
        let name = &table.name;
        let (a, b) = (self.a, self.b);
        let theirs = format!("where tenant_id = '{}'", b.uuid());
        for (verb, statement) in [
            ("read", format!("select from {name} {theirs}")),
            ("change", format!("update {name} set tenant_id = tenant_id {theirs}")),
            ("remove", format!("delete from {name} {theirs}")),
        ] {
            let outcome = self.attempt(Some(a), &statement).await?;
            if !outcome.reached_nothing() {
                self.got_through(table, &format!("{verb} the other's rows"), &outcome);
            }
        }
        for (verb, statement) in [
            ("read", format!("select from {name}")),
            ("change", format!("update {name} set tenant_id = tenant_id")),
            ("remove", format!("delete from {name}")),
        ] {
            let outcome = self.attempt(None, &statement).await?;
            if !outcome.reached_nothing() {
                self.got_through(table, &format!("{verb} rows when no tenant is set"), &outcome);
            }
        }
        self.writes(table).await
    }

    /// Writing a row of the other tenant, in every way there is.
    async fn writes(&mut self, table: &Table) -> Result<()> {
        let Some(row) = table.row_of(self.subject, self.b).await? else { return Ok(()) };
        let (copy, key) = (table.copy(&row), table.key.join(", "));
        let upsert =
            format!("{copy} on conflict ({key}) do update set tenant_id = excluded.tenant_id");
        let give_away = format!(
            "update {} set tenant_id = '{}' where tenant_id = '{}'",
            table.name,
            self.b.uuid(),
            self.a.uuid()
        );
        for (verb, statement) in [
            ("insert a row of the other's", copy),
            ("upsert a row of the other's", upsert),
            ("give a row of its own to the other", give_away),
        ] {
            let outcome = self.attempt(Some(self.a), &statement).await?;
            if !outcome.is_refused_with(NOT_ALLOWED) {
                self.got_through(table, verb, &outcome);
            }
        }
        Ok(())
    }

    fn got_through(&mut self, table: &Table, what: &str, outcome: &Outcome) {
        let how = match outcome {
            Outcome::Rows(rows) => format!("it did, on {rows} rows"),
            Outcome::Refused(code) => {
                format!("only {code} kept it from it, not row-level security")
            }
        };
        let sentence = format!(
            "one tenant must not {what}, and {how}; make it a tenant table with \
             core.tenant_table('{}') and write no policy or grant by hand",
            table.name
        );
        self.report(table, &sentence);
    }
}
