//! No tenant reaches another's rows, whatever the table and whatever the verb.

use freehold_testkit::isolation;

use crate::life::{app, live};

#[tokio::test]
async fn the_schema_lets_no_tenant_reach_another() {
    let app = app().await;
    let findings = isolation::catalogue(&app).await;
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[tokio::test]
async fn no_verb_on_any_table_reaches_another_tenants_rows() {
    let app = app().await;
    let (acme, umbrella) = (live(&app, "Acme").await, live(&app, "Umbrella").await);
    isolation::sweep(&app, &acme.tenant, &umbrella.tenant).await;
}
