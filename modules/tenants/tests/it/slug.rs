//! Slugs: unique in the installation, moved by a rename, and held for a while after it.

use std::time::Duration;

use freehold_kernel::{SystemRole, TenantId};
use freehold_testkit::TestApp;
use futures_util::future::join_all;
use serde_json::json;

use crate::rows::{TENANT, row_counts, start};

/// Whom a slug belongs to.
async fn holder(app: &TestApp, slug: &str) -> Option<TenantId> {
    let mut tx = app.kernel().account_tx().await.expect("a transaction");
    let claim = tx.resolve("tenant_slug", slug.as_bytes()).await.expect("an answer");
    claim.map(|claim| claim.tenant)
}

#[tokio::test]
async fn a_renamed_tenant_is_found_by_its_old_slug_for_thirty_days_and_nobody_else_takes_it() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let rename = |tenant: &freehold_testkit::Tenant, slug: &str| {
        let client = app.principal(tenant).role(SystemRole::Owner);
        client.patch(TENANT, json!({"slug": slug})).into_future()
    };
    rename(&acme, "acme-2").await.expect(200);
    assert_eq!(holder(&app, "acme-2").await, Some(acme.id));
    assert_eq!(holder(&app, "acme").await, Some(acme.id));
    rename(&other, "acme").await.problem("tenants.slug_taken", 409);
    app.clock().advance(Duration::from_secs(30 * 24 * 60 * 60 - 60)).await;
    assert_eq!(holder(&app, "acme").await, Some(acme.id));
    app.clock().advance(Duration::from_secs(60)).await;
    assert_eq!(holder(&app, "acme").await, None);
    assert_eq!(holder(&app, "acme-2").await, Some(acme.id), "the slug in use never ends");
}

#[tokio::test]
async fn a_tenant_takes_its_own_old_slug_back() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    for slug in ["acme-2", "acme", "acme-2", "acme", "acme"] {
        client.patch(TENANT, json!({"slug": slug})).await.expect(200);
    }
    assert_eq!(row_counts(&app).await["core.claims"], 2);
    app.clock().advance(Duration::from_secs(31 * 24 * 60 * 60)).await;
    assert_eq!(holder(&app, "acme").await, Some(acme.id));
    assert_eq!(holder(&app, "acme-2").await, None);
}

#[tokio::test]
async fn a_tenant_holds_five_former_slugs_and_no_more() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    for number in 1..=5 {
        client.patch(TENANT, json!({"slug": format!("acme-{number}")})).await.expect(200);
    }
    let refused = client.patch(TENANT, json!({"slug": "acme-6"})).await;
    refused.problem("core.renamed_too_often", 409);
    assert_eq!(holder(&app, "acme-6").await, None);
    assert_eq!(client.get(TENANT).await.json()["slug"], "acme-5");
    client.patch(TENANT, json!({"slug": "acme-1"})).await.expect(200);
    app.clock().advance(Duration::from_secs(30 * 24 * 60 * 60)).await;
    client.patch(TENANT, json!({"slug": "acme-6"})).await.expect(200);
}

#[tokio::test]
async fn a_slug_that_is_taken_says_nothing_about_its_holder() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Secret Holder").await);
    let client = app.principal(&acme).role(SystemRole::Owner);
    let before = (row_counts(&app).await, client.get(TENANT).await.json().clone());
    let body = json!({"slug": other.slug, "name": "Renamed"});
    let answer = client.patch(TENANT, body).await;
    answer.problem("tenants.slug_taken", 409);
    for told in [other.id.to_string(), other.owner.to_string(), "Holder".to_owned()] {
        assert!(!answer.text().contains(&told), "{answer}");
    }
    assert_eq!((row_counts(&app).await, client.get(TENANT).await.json().clone()), before);
    assert_eq!(holder(&app, &other.slug).await, Some(other.id));
    assert_eq!(holder(&app, "acme").await, Some(acme.id));
}

#[tokio::test]
async fn a_stale_rename_keeps_both_claims_where_they_were() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let rename = client.patch(TENANT, json!({"slug": "acme-2"})).header("if-match", "\"7\"");
    rename.await.problem("core.stale", 412);
    assert_eq!(holder(&app, "acme").await, Some(acme.id));
    assert_eq!(holder(&app, "acme-2").await, None);
}

#[tokio::test]
async fn of_many_tenants_that_want_one_slug_exactly_one_gets_it() {
    let app = start().await;
    let mut tenants = Vec::new();
    for number in 0..8 {
        tenants.push(app.tenant(&format!("Tenant {number}")).await);
    }
    let renames = tenants.iter().map(|tenant| {
        let client = app.principal(tenant).role(SystemRole::Owner);
        client.patch(TENANT, json!({"slug": "wanted"})).into_future()
    });
    let answers = join_all(renames).await;
    let winners: Vec<TenantId> = answers
        .iter()
        .zip(&tenants)
        .filter(|(answer, _)| answer.status() == 200)
        .map(|(_, tenant)| tenant.id)
        .collect();
    assert_eq!(winners.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        answer.problem("tenants.slug_taken", 409);
    }
    assert_eq!(holder(&app, "wanted").await, Some(winners[0]));
    assert_eq!(row_counts(&app).await["core.claims"], 9, "the winner's old slug is held too");
}

#[tokio::test]
async fn two_tenants_that_want_each_others_slugs_both_keep_their_own() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let ask = |tenant: &freehold_testkit::Tenant, slug: &str| {
        let client = app.principal(tenant).role(SystemRole::Owner);
        client.patch(TENANT, json!({"slug": slug})).into_future()
    };
    for _ in 0..8 {
        let (one, two) = tokio::join!(ask(&acme, "other"), ask(&other, "acme"));
        one.problem("tenants.slug_taken", 409);
        two.problem("tenants.slug_taken", 409);
    }
}
