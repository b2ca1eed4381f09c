//! `GET`, `POST` and `DELETE /api-keys`: what may be made, by whom, and who sees it.

use std::time::Duration;

use freehold_kernel::{ServiceAccountId, SystemRole};
use freehold_testkit::{Answer, Client};
use serde_json::{Value, json};

use crate::accounts::{dump, join, kinds, register, row_counts, start};

const KEYS: &str = "/api/v1/api-keys";

async fn names(client: &Client) -> Vec<String> {
    let listed = client.get(KEYS).await;
    let keys = listed.expect(200).json()["data"].as_array().expect("a page").clone();
    keys.iter().map(|key| key["name"].as_str().expect("a name").to_owned()).collect()
}

fn codes(answer: &Answer) -> Vec<&str> {
    let errors = answer.json()["errors"].as_array().into_iter().flatten();
    errors.filter_map(|error| error["code"].as_str()).collect()
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let body =
        json!({"name": "deploy", "scopes": ["roles:read"], "allowedIps": ["127.0.0.9/8", "::1"]});
    let made = client.post(KEYS, body).await;
    let key = made.expect(201).json();
    let (id, secret) = (made.text_of("id"), made.text_of("secret"));
    assert_eq!(made.header("location"), format!("{KEYS}/{id}"));
    assert!(secret.starts_with("fh_live_") && secret.len() == 8 + 32 + 1 + 48 + 8, "{secret}");
    assert_eq!(key["userId"], json!(ada.user()));
    assert_eq!(key["serviceAccountId"], Value::Null);
    assert_eq!(key["scopes"], json!(["roles:read"]));
    assert_eq!(key["allowedIps"], json!(["127.0.0.0/8", "::1/128"]));
    assert_eq!((&key["expiresAt"], &key["lastUsedAt"]), (&Value::Null, &Value::Null));

    let event = app.last_event(ada.tenant()).await;
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("apikey.created", id));
    assert_eq!(event.actor, ada.user().to_string());
    assert_eq!(event.data["name"], "deploy");
    assert_eq!(event.data["scopes"], json!(["roles:read"]));
    let opened = app.opened(&event).await;
    let listed = client.get(KEYS).await;
    assert_eq!(listed.expect(200).json()["data"][0]["id"], key["id"]);
    assert_eq!(listed.json()["data"][0].get("secret"), None);
    let random = &secret[8 + 32 + 1..];
    for place in [listed.text(), event.data.to_string(), opened.to_string()] {
        assert!(!place.contains(random), "{place}");
    }
    for table in ["identity.api_keys", "core.claims", "core.events", "core.changes"] {
        let text = dump(&app, table).await;
        assert!(!text.contains(random) && !text.contains(&hex::encode(random)), "{table}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_named_and_nothing_is_kept() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let before = row_counts(&app).await;
    let past = app.clock().now() - Duration::from_secs(1);
    let unknown = ServiceAccountId::new();
    for (field, value, pointer) in [
        ("name", json!(""), "/name"),
        ("name", json!("a".repeat(101)), "/name"),
        ("name", json!("a\nb"), "/name"),
        ("scopes", json!([]), "/scopes"),
        ("scopes", json!(["roles:read", "roles:rule"]), "/scopes/1"),
        ("scopes", json!([""]), "/scopes/0"),
        ("scopes", json!(vec!["roles:read"; 201]), "/scopes"),
        ("scopes", json!("roles:read"), "/scopes"),
        ("allowedIps", json!(["127.0.0.1", "localhost"]), "/allowedIps/1"),
        ("allowedIps", json!(["10.0.0.0/33"]), "/allowedIps/0"),
        ("allowedIps", json!(vec!["10.0.0.1"; 51]), "/allowedIps"),
        ("expiresAt", json!(past), "/expiresAt"),
        ("expiresAt", json!("tomorrow"), "/expiresAt"),
        ("serviceAccountId", json!(unknown), "/serviceAccountId"),
        ("serviceAccountId", json!(ada.user()), "/serviceAccountId"),
        ("userId", json!(ada.user()), "/userId"),
        ("tenantId", json!(ada.tenant()), "/tenantId"),
        ("secret", json!("fh_live_mine"), "/secret"),
    ] {
        let mut body = json!({"name": "deploy"});
        body[field] = value;
        ada.client(&app).post(KEYS, body).await.invalid(pointer);
    }
    let answer = ada.client(&app).post(KEYS, json!({"name": "x", "scopes": ["a:b"]})).await;
    assert_eq!(codes(&answer), ["identity.unknown_permission"]);
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn nobody_gives_a_key_what_they_lack() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    let kept = row_counts(&app).await;
    let body = json!({"name": "x", "scopes": ["roles:read", "service-accounts:write"]});
    let answer = member.post(KEYS, body).await;
    assert_eq!(row_counts(&app).await, kept);
    answer.problem("identity.grants_too_much", 403);
    assert!(answer.json()["detail"].as_str().unwrap().contains("service-accounts:write"));
    let account = json!({"name": "import", "roleIds": [SystemRole::Viewer.id()]});
    let account = bob.client(&app).post("/api/v1/service-accounts", account).await;
    let before = row_counts(&app).await;
    let body = json!({"name": "x", "serviceAccountId": account.expect(201).text_of("id")});
    member.post(KEYS, body).await.problem("core.permission_missing", 403);
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn a_narrow_key_makes_no_wider_one() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let scopes = ["api-keys:read", "api-keys:write", "service-accounts:write"];
    let made = client.post(KEYS, json!({"name": "narrow", "scopes": scopes})).await;
    let narrow = app.bearer(made.expect(201).text_of("secret"));
    let wide = client.post(KEYS, json!({"name": "wide"})).await;
    let account = json!({"name": "import", "roleIds": [SystemRole::Owner.id()]});
    let account = client.post("/api/v1/service-accounts", account).await;
    let program = json!({"name": "program", "serviceAccountId": account.expect(201).text_of("id")});
    let of_program = client.post(KEYS, &program).await;
    let before = row_counts(&app).await;
    // Absent scopes mean all that the owner may do, which is more than this key may.
    narrow.post(KEYS, json!({"name": "x"})).await.problem("identity.grants_too_much", 403);
    narrow.post(KEYS, &program).await.problem("identity.grants_too_much", 403);
    for key in [&wide, &of_program] {
        let rotate = format!("{KEYS}/{}/rotate", key.expect(201).text_of("id"));
        narrow.request("POST", &rotate).await.problem("identity.grants_too_much", 403);
    }
    assert_eq!(row_counts(&app).await, before);
    narrow.post(KEYS, json!({"name": "x", "scopes": ["api-keys:read"]})).await.expect(201);
}

#[tokio::test]
async fn a_member_sees_and_removes_own_keys_and_an_admin_those_of_all() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    let owner = bob.client(&app);
    let own = member.post(KEYS, json!({"name": "of the member"})).await;
    let of_owner = owner.post(KEYS, json!({"name": "of the owner"})).await;
    assert_eq!(names(&member).await, ["of the member"]);
    assert_eq!(names(&owner).await, ["of the owner", "of the member"]);
    let foreign = format!("{KEYS}/{}", of_owner.text_of("id"));
    let before = row_counts(&app).await;
    member.delete(&foreign).await.problem("core.not_found", 404);
    member.request("POST", &format!("{foreign}/rotate")).await.problem("core.not_found", 404);
    assert_eq!(row_counts(&app).await, before);
    app.bearer(of_owner.text_of("secret")).get("/api/v1/auth/me").await.expect(200);
    owner.delete(&format!("{KEYS}/{}", own.text_of("id"))).await.expect(204);
    let event = app.last_event(bob.tenant()).await;
    assert_eq!((event.kind.as_str(), event.actor), ("apikey.revoked", bob.user().to_string()));
    assert_eq!(event.data, json!({"apiKeyId": own.text_of("id"), "name": "of the member"}));
    app.bearer(own.text_of("secret"))
        .get("/api/v1/auth/me")
        .await
        .problem("identity.key_invalid", 401);
    let viewer = register(&app, "Eve").await;
    let viewer = join(&app, bob.tenant(), &viewer, SystemRole::Viewer).await;
    viewer.get(KEYS).await.problem("core.permission_missing", 403);
    viewer.post(KEYS, json!({"name": "x"})).await.problem("core.permission_missing", 403);
}

#[tokio::test]
async fn nobody_gets_the_secret_of_another_persons_key() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let admin = join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let of_owner = bob.client(&app).post(KEYS, json!({"name": "of the owner"})).await;
    let before = kinds(&app, bob.tenant()).await;
    let rotate = format!("{KEYS}/{}/rotate", of_owner.expect(201).text_of("id"));
    admin.request("POST", &rotate).await.problem("core.not_found", 404);
    assert_eq!(kinds(&app, bob.tenant()).await, before);
}

#[tokio::test]
async fn keys_of_another_tenant_are_not_there() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let key = bob.client(&app).post(KEYS, json!({"name": "of Bob"})).await;
    let path = format!("{KEYS}/{}", key.expect(201).text_of("id"));
    let client = ada.client(&app);
    let (before, there) = (row_counts(&app).await, dump(&app, "identity.api_keys").await);
    let foreign = client.delete(&path).await;
    let missing = client.delete(&format!("{KEYS}/key_01jz8q6k3mf1g8tvkh4z6c9x2b")).await;
    assert_eq!(foreign.problem("core.not_found", 404).json()["detail"], missing.json()["detail"]);
    client.request("POST", &format!("{path}/rotate")).await.problem("core.not_found", 404);
    assert_eq!(names(&client).await, [] as [&str; 0]);
    assert_eq!(row_counts(&app).await, before);
    assert_eq!(dump(&app, "identity.api_keys").await, there);
    app.bearer(key.text_of("secret")).get("/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_list_of_keys_comes_in_pages_newest_first() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    for number in 0..7 {
        client.post(KEYS, json!({"name": format!("key {number}")})).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut path = format!("{KEYS}?limit=3");
    loop {
        let page = client.get(&path).await;
        let data = page.expect(200).json()["data"].as_array().unwrap().clone();
        seen.extend(data.iter().map(|key| key["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page.json()["nextCursor"].as_str() else { break };
        path = format!("{KEYS}?limit=3&cursor={cursor}");
    }
    let newest_first: Vec<String> = (0..7).rev().map(|number| format!("key {number}")).collect();
    assert_eq!(seen, newest_first);
}
