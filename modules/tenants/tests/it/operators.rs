//! Operators make tenants, look at them and change them.

use freehold_kernel::{SystemRole, UserId};
use freehold_testkit::{Client, Tenant, TestApp};
use serde_json::{Value, json};

use crate::rows::{count, pages, row_counts, start};

const TENANTS: &str = "/api/v1/tenants";

/// The application, the operators' tenant, and a client of an operator's.
async fn operated() -> (TestApp, Tenant, Client) {
    let app = start().await;
    let platform = app.platform().await;
    let operator = app.principal(&platform).role(SystemRole::Operator);
    (app, platform, operator)
}

/// The address of somebody who has registered.
async fn email_of(app: &TestApp, person: UserId) -> String {
    sqlx::query_scalar("select email from core.users where id = $1")
        .bind(*person)
        .fetch_one(app.sql())
        .await
        .expect("an address")
}

fn slugs(data: &Value) -> Vec<&str> {
    data["data"].as_array().unwrap().iter().map(|row| row["slug"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn only_operators_get_to_tenants_that_are_not_theirs() {
    let (app, platform, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    let one = format!("{TENANTS}/{}", acme.id);
    let by_slug = format!("{TENANTS}/slug/acme");
    for role in SystemRole::ALL.into_iter().filter(|role| *role != SystemRole::Operator) {
        let client = app.principal(&acme).role(role);
        for path in [TENANTS, &one, &by_slug] {
            client.get(path).await.problem("core.permission_missing", 403);
        }
        let new = json!({"name": "Mine", "slug": "mine", "kind": "live"});
        client.post(TENANTS, new).await.problem("core.permission_missing", 403);
        client.patch(&one, json!({"name": "Mine"})).await.problem("core.permission_missing", 403);
        client.delete(&one).await.problem("core.permission_missing", 403);
        let status = client.post(&format!("{one}/status"), json!({"status": "suspended"})).await;
        status.problem("core.permission_missing", 403);
    }
    assert_eq!(app.last_event(&acme).await.kind, "tenant.created");
    operator.get(&one).await.expect(200);
    assert_eq!(app.events(&platform).await.len(), 1, "a look is recorded in the tenant looked at");
}

#[tokio::test]
async fn a_look_at_a_tenant_is_in_its_log_with_who_and_why() {
    let (app, platform, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    let one = format!("{TENANTS}/{}", acme.id);
    let answer = operator.get(&one).header("freehold-reason", "ticket 4711").await;
    assert_eq!(answer.expect(200).header("etag"), "\"1\"");
    assert_eq!(answer.json()["slug"], "acme");
    assert_eq!(answer.json()["closedAt"], Value::Null);
    let event = app.last_event(&acme).await;
    assert_eq!(event.kind, "tenant.read_by_operator");
    assert_eq!((&event.actor, &event.subject), (&platform.owner.to_string(), &acme.id.to_string()));
    assert_eq!(event.data, json!({"tenantId": acme.id}));
    assert_eq!(app.opened(&event).await["reason"], "ticket 4711");
    operator.get(&format!("{TENANTS}/slug/acme")).await.expect(200);
    let event = app.last_event(&acme).await;
    assert_eq!(event.kind, "tenant.read_by_operator");
    assert_eq!(app.opened(&event).await["reason"], Value::Null);
    assert_eq!(count(&app, acme.id, "tenant.read_by_operator").await, 2);
    for odd in ["", " ", &"x".repeat(201)] {
        operator.get(&one).header("freehold-reason", odd).await.invalid("Freehold-Reason");
    }
    operator.get(&one).header("freehold-reason", b"\xff").await.invalid("Freehold-Reason");
    assert_eq!(count(&app, acme.id, "tenant.read_by_operator").await, 2);
}

#[tokio::test]
async fn an_operator_makes_a_tenant_with_and_without_an_owner() {
    let (app, platform, operator) = operated().await;
    let new = json!({"name": "Acme Ltd", "slug": "acme", "kind": "sandbox"});
    let made = operator.post(TENANTS, new).await;
    let acme = made.expect(201).json();
    assert_eq!((&acme["name"], &acme["slug"]), (&json!("Acme Ltd"), &json!("acme")));
    assert_eq!((&acme["kind"], &acme["status"]), (&json!("sandbox"), &json!("active")));
    assert_eq!(made.header("location"), format!("{TENANTS}/{}", made.text_of("id")));
    let id: freehold_kernel::TenantId = made.text_of("id").parse().unwrap();
    let created = app.last_event(id).await;
    assert_eq!((&*created.kind, created.actor), ("tenant.created", platform.owner.to_string()));

    let other = app.tenant("Other").await;
    let email = email_of(&app, other.owner).await.to_uppercase();
    let new = json!({"name": "Two", "slug": "two", "kind": "live", "ownerEmail": email});
    let two = operator.post(TENANTS, new).await;
    let id: freehold_kernel::TenantId = two.expect(201).text_of("id").parse().unwrap();
    let event = app.last_event(id).await;
    assert_eq!(event.kind, "tenant.owner_named");
    assert_eq!((event.subject, event.actor), (other.owner.to_string(), platform.owner.to_string()));
    let role: uuid::Uuid = sqlx::query_scalar(
        "select role_id from core.role_assignments where tenant_id = $1 and user_id = $2",
    )
    .bind(*id)
    .bind(*other.owner)
    .fetch_one(app.sql())
    .await
    .unwrap();
    assert_eq!(role, *SystemRole::Owner.id());
}

#[tokio::test]
async fn a_tenant_that_cannot_be_made_leaves_nothing() {
    let (app, _, operator) = operated().await;
    app.tenant("Acme").await;
    let before = row_counts(&app).await;
    let new = |field: &str, value: Value| {
        let mut new = json!({"name": "New", "slug": "new-one", "kind": "live"});
        new[field] = value;
        operator.post(TENANTS, new).into_future()
    };
    new("slug", json!("acme")).await.problem("tenants.slug_taken", 409);
    new("slug", json!("admin")).await.invalid("/slug");
    new("slug", json!("No")).await.invalid("/slug");
    new("name", json!("")).await.invalid("/name");
    new("kind", json!("platform")).await.invalid("/kind");
    new("ownerEmail", json!("nobody@example.org")).await.invalid("/ownerEmail");
    new("status", json!("active")).await.invalid("/status");
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn an_operators_change_is_the_tenants_event_with_before_and_after() {
    let (app, platform, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    let one = format!("{TENANTS}/{}", acme.id);
    let patch = json!({"name": "Acme Two", "slug": "acme-two", "currency": "EUR"});
    let answer = operator.patch(&one, patch).header("if-match", "\"1\"").await;
    assert_eq!(answer.expect(200).header("etag"), "\"2\"");
    let event = app.last_event(&acme).await;
    assert_eq!((&*event.kind, &event.actor), ("tenant.updated", &platform.owner.to_string()));
    assert_eq!(app.opened(&event).await["before"]["name"], "Acme");
    assert_eq!(app.opened(&event).await["after"]["currency"], "EUR");
    operator
        .patch(&one, json!({"name": "Stale"}))
        .header("if-match", "\"1\"")
        .await
        .problem("core.stale", 412);
    let own = app.principal(&acme).role(SystemRole::Owner).get("/api/v1/tenant").await;
    assert_eq!(own.json(), answer.json());
    for slug in ["acme", "acme-two"] {
        let found = operator.get(&format!("{TENANTS}/slug/{slug}")).await;
        assert_eq!(found.expect(200).json()["id"], json!(acme.id), "{slug}");
    }
    operator.get(&format!("{TENANTS}/slug/acme-three")).await.problem("core.not_found", 404);
    let other = app.tenant("Other").await;
    let path = format!("{TENANTS}/{}", other.id);
    operator.patch(&path, json!({"slug": "acme"})).await.problem("tenants.slug_taken", 409);
    let path = format!("{TENANTS}/{}", platform.id);
    operator.patch(&path, json!({"slug": "elsewhere"})).await.invalid("/slug");
    operator.patch(&path, json!({"name": "The operators"})).await.expect(200);
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_paged_without_gap_or_repetition() {
    let (app, platform, operator) = operated().await;
    let mut made = Vec::new();
    for name in ["delta", "Alpha", "charlie", "Bravo", "alpha two"] {
        made.push(app.tenant(name).await);
    }
    for (query, expected) in [
        ("?", vec!["alpha-two", "bravo", "charlie", "alpha", "delta", "platform"]),
        ("?sort=newest&kind=live", vec!["alpha-two", "bravo", "charlie", "alpha", "delta"]),
        ("?sort=slug", vec!["alpha", "alpha-two", "bravo", "charlie", "delta", "platform"]),
        ("?sort=name&kind=live", vec!["alpha", "bravo", "alpha-two", "charlie", "delta"]),
        ("?search=ALPHA&sort=slug", vec!["alpha", "alpha-two"]),
        ("?search=alpha-", vec!["alpha-two"]),
        ("?search=%25", vec![]),
        ("?status=suspended", vec![]),
        ("?status=nonsense", vec![]),
        ("?kind=platform", vec!["platform"]),
    ] {
        let all = operator.get(&format!("{TENANTS}{query}")).await;
        assert_eq!(slugs(all.expect(200).json()), expected, "{query}");
        let pages = pages(&operator, &format!("{TENANTS}{query}&limit=2")).await;
        let found: Vec<&str> = pages.iter().flat_map(|page| slugs(page.json())).collect();
        assert_eq!(found, expected, "{query}, page by page");
    }
    for query in ["?sort=age", "?sort=", "?status=a&status=b", "?order=name"] {
        operator.get(&format!("{TENANTS}{query}")).await.expect(422);
    }
    // Two first pages for each query, recorded where the operators are; no tenant hears of it.
    assert_eq!(count(&app, platform.id, "tenant.listed").await, 20);
    for tenant in made {
        assert_eq!(app.events(&tenant).await.len(), 1);
    }
}

#[tokio::test]
async fn two_tenants_of_one_name_are_both_on_the_pages() {
    let (app, _, operator) = operated().await;
    for number in 0..5 {
        let new = json!({"name": "Same", "slug": format!("same-{number}"), "kind": "live"});
        operator.post(TENANTS, new).await.expect(201);
    }
    let pages = pages(&operator, &format!("{TENANTS}?sort=name&limit=2&search=same")).await;
    let found: Vec<&str> = pages.iter().flat_map(|page| slugs(page.json())).collect();
    assert_eq!(found, ["same-0", "same-1", "same-2", "same-3", "same-4"]);
    drop(app);
}
