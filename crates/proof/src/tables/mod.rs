//! The isolation of tables, generated from PostgreSQL's catalogue, so that none can be forgotten.

mod attempt;
mod fill;
mod foreign_keys;
mod grants;
mod rows;
mod table;

pub use fill::fill;
pub use grants::grants;

use freehold_kernel::TenantId;

use crate::{Report, Result, Subject};
use attempt::{Outcome, attempt};
use table::Table;

/// What every start asks of the schema, asked again: for a schema that has changed since, or to see
/// the findings of all modules together.
///
/// # Errors
/// When the database does not answer.
pub async fn catalogue(subject: &Subject) -> Result<Vec<String>> {
    let findings = subject.app.inspect().await?;
    Ok(findings.into_iter().map(|finding| finding.to_string()).collect())
}

/// Tries, as the application's role in tenant `a`, to reach the rows of tenant `b` in every tenant
/// table with every verb. Both tenants need rows in every table: a table without rows is a finding.
///
/// # Errors
/// When a statement cannot be tried at all.
pub async fn sweep(subject: &Subject, a: TenantId, b: TenantId) -> Result<Report> {
    let mut sweep = Sweep { subject, a, b, report: Report::default() };
    for table in &Table::all(subject).await? {
        if sweep.both_have_rows(table).await? {
            sweep.rows(table).await?;
            sweep.foreign_keys(table).await?;
        }
    }
    Ok(sweep.report)
}

/// A sweep under way.
struct Sweep<'a> {
    subject: &'a Subject,
    a: TenantId,
    b: TenantId,
    report: Report,
}

impl Sweep<'_> {
    /// A table without rows proves nothing.
    async fn both_have_rows(&mut self, table: &Table) -> Result<bool> {
        let mut both = true;
        for tenant in [self.a, self.b] {
            both &= table.row_of(self.subject, tenant).await?.is_some();
        }
        if !both {
            self.report.findings.push(format!(
                "table {} has no rows for both tenants; add them to the journey that fills it",
                table.name
            ));
        }
        Ok(both)
    }

    async fn attempt(&mut self, tenant: Option<TenantId>, sql: &str) -> Result<Outcome> {
        self.report.tried += 1;
        attempt(self.subject, tenant, sql).await
    }

    fn report(&mut self, table: &Table, sentence: &str) {
        self.report.findings.push(format!("table {}: {sentence}", table.name));
    }
}
