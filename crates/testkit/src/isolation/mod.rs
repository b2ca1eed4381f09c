//! The isolation proof, generated from PostgreSQL's catalogue, so that no table can be forgotten.

mod attempt;
mod foreign_keys;
mod grants;
mod rows;
mod table;

pub use grants::grants;

use crate::app::TestApp;
use crate::people::Tenant;
use table::Table;

/// What every start asks of the schema, asked again: for a test that has changed it, or to see
/// the findings of all modules together.
pub async fn catalogue(app: &TestApp) -> Vec<String> {
    let findings = app.kernel().inspect().await.expect("PostgreSQL's catalogue");
    findings.into_iter().map(|finding| finding.to_string()).collect()
}

/// Tries, as the application's role in tenant `a`, to reach the rows of tenant `b` in every tenant
/// table with every verb. Panics once, with everything that got through. Both tenants need rows in
/// every table: run the journey that fills them first, once for each.
pub async fn sweep(app: &TestApp, a: &Tenant, b: &Tenant) {
    let findings = Box::pin(findings(app, a, b)).await;
    assert!(
        findings.is_empty(),
        "tenants are not isolated from each other:\n  {}",
        findings.join("\n  ")
    );
}

/// The same, returning what is wrong, a sentence for each thing.
pub async fn findings(app: &TestApp, a: &Tenant, b: &Tenant) -> Vec<String> {
    let mut sweep = Sweep { app, a, b, findings: Vec::new() };
    for table in &Table::all(app).await {
        if sweep.both_have_rows(table).await {
            sweep.rows(table).await;
            sweep.foreign_keys(table).await;
        }
    }
    sweep.findings
}

/// A sweep under way.
struct Sweep<'a> {
    app: &'a TestApp,
    a: &'a Tenant,
    b: &'a Tenant,
    findings: Vec<String>,
}

impl Sweep<'_> {
    /// A table without rows proves nothing.
    async fn both_have_rows(&mut self, table: &Table) -> bool {
        let mut both = true;
        for tenant in [self.a, self.b] {
            both &= table.row_of(self.app, tenant.id).await.is_some();
        }
        if !both {
            self.findings.push(format!(
                "table {} has no rows for both tenants; add them to the journey that fills it",
                table.name
            ));
        }
        both
    }

    fn report(&mut self, table: &Table, sentence: &str) {
        self.findings.push(format!("table {}: {sentence}", table.name));
    }
}
