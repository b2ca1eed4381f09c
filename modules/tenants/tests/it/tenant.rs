//! `GET` and `PATCH /tenant`.

use freehold_kernel::{ServiceAccountId, SystemRole};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::rows::{TENANT, count, row_counts, start};

#[tokio::test]
async fn everybody_in_a_tenant_sees_it_with_its_version() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme Ltd").await, app.tenant("Other").await);
    for role in [SystemRole::Owner, SystemRole::Agent, SystemRole::Viewer] {
        let answer = app.principal(&acme).role(role).get(TENANT).await;
        let tenant = answer.expect(200).json();
        assert_eq!(answer.header("etag"), "\"1\"");
        assert_eq!(tenant["id"], json!(acme.id));
        assert_eq!((&tenant["slug"], &tenant["name"]), (&json!("acme-ltd"), &json!("Acme Ltd")));
        assert_eq!((&tenant["kind"], &tenant["status"]), (&json!("live"), &json!("active")));
        assert_eq!(tenant["timeZone"], "UTC");
        assert_eq!((&tenant["locale"], &tenant["currency"]), (&json!("en"), &json!("USD")));
        assert_eq!(tenant["version"], 1);
    }
    let there = app.principal(&other).role(SystemRole::Viewer).get(TENANT).await;
    assert_eq!(there.expect(200).json()["id"], json!(other.id));
    app.anonymous().get(TENANT).await.problem("core.unauthenticated", 401);
    app.principal(&acme).with(&[]).get(TENANT).await.problem("core.permission_missing", 403);
}

#[tokio::test]
async fn absent_keeps_null_clears_and_a_value_sets() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Admin);
    let before = client.get(TENANT).await;
    let all = json!({
        "name": "Acme Nigeria", "slug": "acme-ng", "timeZone": "Africa/Lagos", "locale": "en-NG",
        "currency": "NGN",
    });
    let answer = client.patch(TENANT, &all).await;
    assert_eq!(answer.expect(200).header("etag"), "\"2\"");
    for (field, value) in all.as_object().unwrap() {
        assert_eq!(answer.json()[field], *value);
    }
    for field in ["id", "kind", "status", "createdAt"] {
        assert_eq!(answer.json()[field], before.json()[field]);
    }
    assert_eq!(client.get(TENANT).await.json(), answer.json());
    let cleared = client.patch(TENANT, json!({"timeZone": null, "locale": null})).await;
    assert_eq!(cleared.expect(200).json()["timeZone"], "UTC");
    assert_eq!(cleared.json()["locale"], "en");
    assert_eq!(cleared.json()["currency"], "NGN");
    let cleared = client.patch(TENANT, json!({"currency": null})).await;
    assert_eq!(cleared.expect(200).json()["currency"], "USD");
    assert_eq!(cleared.json()["name"], "Acme Nigeria");
}

#[tokio::test]
async fn each_field_that_is_wrong_is_named_and_nothing_is_kept() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let (before, counts) = (client.get(TENANT).await, row_counts(&app).await);
    for (field, value) in [
        ("name", json!("")),
        ("name", json!(" Acme")),
        ("name", json!("A\tcme")),
        ("name", json!("a".repeat(201))),
        ("name", json!(null)),
        ("name", json!(1)),
        ("slug", json!("ab")),
        ("slug", json!("a".repeat(41))),
        ("slug", json!("Acme")),
        ("slug", json!("-acme")),
        ("slug", json!("acme-")),
        ("slug", json!("ac me")),
        ("slug", json!("äcme")),
        ("slug", json!("platform")),
        ("slug", json!("admin")),
        ("slug", json!("")),
        ("slug", json!(null)),
        ("timeZone", json!("Mars/Olympus")),
        ("timeZone", json!("../UTC")),
        ("timeZone", json!("")),
        ("locale", json!("english")),
        ("locale", json!("de_DE")),
        ("currency", json!("usd")),
        ("currency", json!("XXY")),
        ("currency", json!("US")),
        ("id", json!(acme.id)),
        ("tenantId", json!(acme.id)),
        ("kind", json!("platform")),
        ("status", json!("active")),
        ("version", json!(1)),
        ("createdAt", json!("2020-01-01T00:00:00Z")),
    ] {
        let mut body = json!({"locale": "fr"});
        body[field] = value;
        client.patch(TENANT, body).await.invalid(&format!("/{field}"));
    }
    assert_eq!(row_counts(&app).await, counts);
    assert_eq!(client.get(TENANT).await.json(), before.json());
}

#[tokio::test]
async fn a_change_is_recorded_with_the_fields_that_changed_sealed() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let client = app.principal(&acme).role(SystemRole::Owner);
    let patch = json!({"name": "Acme Secret", "currency": "EUR", "locale": "en"});
    let request = client.patch(TENANT, patch).header("user-agent", "Engine/1");
    let answer = request.header("x-request-id", "rename-17").await;
    answer.expect(200);
    let event = app.last_event(&acme).await;
    assert_eq!(event.kind, "tenant.updated");
    assert_eq!((event.actor, event.subject), (acme.owner.to_string(), acme.id.to_string()));
    assert_eq!(event.request_id.as_deref(), Some("rename-17"));
    assert_eq!(event.data, json!({"tenantId": acme.id, "slug": "acme", "name": "Acme Secret"}));
    let event = app.last_event(&acme).await;
    let opened = app.opened(&event).await;
    assert_eq!(opened["before"], json!({"name": "Acme", "currency": "USD", "version": 1}));
    assert_eq!(opened["after"], json!({"name": "Acme Secret", "currency": "EUR", "version": 2}));
    assert_eq!((&opened["ip"], &opened["userAgent"]), (&json!("127.0.0.1"), &json!("Engine/1")));
    let sealed = event.personal.unwrap();
    for plain in ["before", "EUR", "Engine"] {
        assert!(!sealed.windows(plain.len()).any(|window| window == plain.as_bytes()));
    }
    assert_eq!(app.last_event(&other).await.kind, "tenant.created");
}

#[tokio::test]
async fn a_program_changes_the_tenant_under_its_own_name() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let program = ServiceAccountId::new();
    let client = app.principal(&acme).service_account(program).with(&["tenants:write"]);
    client.patch(TENANT, json!({"name": "Acme 2"})).await.expect(200);
    assert_eq!(app.last_event(&acme).await.actor, program.to_string());
    let event = app.last_event(&acme).await;
    assert_eq!(app.opened(&event).await["after"]["name"], "Acme 2");
}

#[tokio::test]
async fn only_owners_and_admins_change_the_tenant() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    for role in [SystemRole::Member, SystemRole::Agent, SystemRole::Viewer] {
        let client = app.principal(&acme).role(role);
        let answer = client.patch(TENANT, json!({"name": "Mine"})).await;
        answer.problem("core.permission_missing", 403);
        assert!(answer.json()["detail"].as_str().unwrap().contains("tenants:write"));
    }
    assert_eq!(app.last_event(&acme).await.kind, "tenant.created");
}

#[tokio::test]
async fn a_stale_version_is_refused_and_any_is_taken() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let patch = |version: &str, name: &str| {
        client.patch(TENANT, json!({"name": name})).header("if-match", version).into_future()
    };
    assert_eq!(patch("\"1\"", "Two").await.expect(200).header("etag"), "\"2\"");
    for stale in ["\"1\"", "\"3\"", "\"999999999999999999\""] {
        patch(stale, "Stale").await.problem("core.stale", 412);
    }
    for odd in ["2", "W/\"2\"", "\"two\"", "", "\"", "\"-1\"", "\"+2\"", "\"9223372036854775808\""]
    {
        patch(odd, "Odd").await.invalid("If-Match");
    }
    assert_eq!(count(&app, acme.id, "tenant.updated").await, 1);
    assert_eq!(client.get(TENANT).await.json()["name"], "Two");
    assert_eq!(patch("*", "Three").await.expect(200).header("etag"), "\"3\"");
    client.patch(TENANT, json!({"name": "Four"})).await.expect(200);
}

#[tokio::test]
async fn of_many_changes_to_one_version_exactly_one_counts() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let patches = (0..24).map(|number| {
        let body = json!({"name": format!("Acme {number}")});
        client.patch(TENANT, body).header("if-match", "\"1\"").into_future()
    });
    let answers = join_all(patches).await;
    let kept: Vec<_> = answers.iter().filter(|answer| answer.status() == 200).collect();
    assert_eq!(kept.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        answer.problem("core.stale", 412);
    }
    assert_eq!(client.get(TENANT).await.json(), kept[0].json());
    assert_eq!(count(&app, acme.id, "tenant.updated").await, 1);
}

#[tokio::test]
async fn changes_without_a_version_do_not_undo_each_other() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let fields =
        [("name", "Bcme"), ("timeZone", "Asia/Tokyo"), ("locale", "ja"), ("currency", "JPY")];
    let patches =
        fields.map(|(field, value)| client.patch(TENANT, json!({field: value})).into_future());
    for answer in join_all(patches).await {
        answer.expect(200);
    }
    let after = client.get(TENANT).await;
    for (field, value) in fields {
        assert_eq!(after.json()[field], value);
    }
    let versions: Vec<Value> = {
        let mut versions = Vec::new();
        for event in app.events(&acme).await.iter().filter(|event| event.kind == "tenant.updated") {
            versions.push(app.opened(event).await["after"]["version"].clone());
        }
        versions
    };
    assert_eq!(versions.len(), 4);
    assert_eq!(after.json()["version"], 5);
}
