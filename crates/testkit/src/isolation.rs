//! The isolation proof of `freehold-proof`, on an application under test.

use freehold_proof::{Report, Subject, tables};

use crate::app::TestApp;
use crate::people::Tenant;

impl TestApp {
    /// What `freehold-proof` works on.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject {
            app: self.kernel().clone(),
            superuser: self.sql().clone(),
            base: self.base_url().to_owned(),
        }
    }
}

/// What every start asks of the schema, asked again: for a test that has changed it, or to see
/// the findings of all modules together.
pub async fn catalogue(app: &TestApp) -> Vec<String> {
    tables::catalogue(&app.subject()).await.expect("PostgreSQL's catalogue")
}

/// Each database role × table × verb, as a Markdown table, for a snapshot that people review.
pub async fn grants(app: &TestApp) -> String {
    tables::grants(&app.subject()).await.expect("the grants on all tables")
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
    let Report { findings, .. } =
        tables::sweep(&app.subject(), a.id, b.id).await.expect("the sweep of all tables");
    findings
}
