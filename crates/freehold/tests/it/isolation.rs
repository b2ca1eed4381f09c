//! No tenant reaches another's rows, whatever the table, the verb, the route and the caller.

use std::time::Instant;

use freehold::prove::{life, principals};
use freehold_proof::routes::{self, Cast};
use freehold_testkit::{TestApp, isolation};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_shows_or_changes_anything_of_another_tenant_whoever_asks() {
    let app = app().await;
    let cast = cast(&app).await;
    let began = Instant::now();
    let report = Box::pin(routes::sweep(&app.subject(), &cast)).await.unwrap();
    println!("{} requests in {:.1?}", report.tried, began.elapsed());
    for left_out in &report.left_out {
        println!("left out: {left_out}");
    }
    assert!(
        report.findings.is_empty(),
        "{} findings:\n{}",
        report.findings.len(),
        report.findings.join("\n")
    );
    assert!(report.tried >= 10_000, "only {} requests", report.tried);
}

/// Two tenants that have lived, and everybody who asks.
pub(crate) async fn cast(app: &TestApp) -> Cast {
    let subject = app.subject();
    let acme = Box::pin(life::live(&subject, "Acme")).await.unwrap();
    let umbrella = Box::pin(life::live(&subject, "Umbrella")).await.unwrap();
    Box::pin(principals::cast(&subject, &acme, &umbrella)).await.unwrap()
}
