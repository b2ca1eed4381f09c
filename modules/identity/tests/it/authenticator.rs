//! Keys as credentials: what they may do, from where, until when, and how soon a change counts.

use std::time::Duration;

use freehold_identity::{Settings, module};
use freehold_kernel::SystemRole;
use freehold_testkit::TestApp;
use serde_json::json;

use crate::accounts::{join, register, start};

const KEYS: &str = "/api/v1/api-keys";
const ME: &str = "/api/v1/auth/me";

#[tokio::test]
async fn a_key_may_do_what_its_scopes_and_its_owner_allow_at_the_time() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let admin = join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let scopes = json!(["roles:read", "service-accounts:read"]);
    let scoped = admin.post(KEYS, json!({"name": "scoped", "scopes": scopes})).await;
    let whole = admin.post(KEYS, json!({"name": "whole"})).await;
    let (scoped, whole) = (scoped.expect(201), whole.expect(201));
    let held = app.bearer(scoped.text_of("secret")).get(ME).await;
    assert_eq!(held.expect(200).json()["permissions"], scopes);
    assert_eq!(held.json()["tenant"]["id"], json!(bob.tenant()));
    let key = app.bearer(scoped.text_of("secret"));
    key.get("/api/v1/service-accounts").await.expect(200);
    key.get(KEYS).await.problem("core.permission_missing", 403);
    key.post(KEYS, json!({"name": "x"})).await.problem("core.permission_missing", 403);

    sqlx::query(
        "update core.role_assignments set role_id = $1 where user_id = $2 and tenant_id = $3",
    )
    .bind(*SystemRole::Viewer.id())
    .bind(*ada.user())
    .bind(*bob.tenant())
    .execute(app.sql())
    .await
    .unwrap();
    // A node that has not met these keys, and so does not remember what they could do.
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let held = node.bearer(scoped.text_of("secret")).get(ME).await;
    assert_eq!(held.expect(200).json()["permissions"], json!(["roles:read"]));
    let held = node.bearer(whole.text_of("secret")).get(ME).await;
    let viewer = app.kernel().permissions_of(&[SystemRole::Viewer]);
    assert_eq!(held.json()["permissions"], json!(viewer.iter().collect::<Vec<_>>()));
}

#[tokio::test]
async fn what_a_key_does_is_recorded_as_its_owner_by_that_key() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "first"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    let narrow = json!({"name": "second", "scopes": ["users:read"]});
    key.post(KEYS, narrow).await.expect(201);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!(event.actor, ada.user().to_string());
    assert_eq!(app.opened(&event).await["credential"], made.json()["id"]);
}

#[tokio::test]
async fn a_key_dies_when_it_expires_also_when_it_is_remembered() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let at = app.clock().now() + Duration::from_secs(300);
    let made = ada.client(&app).post(KEYS, json!({"name": "x", "expiresAt": at})).await;
    assert_eq!(made.expect(201).json()["expiresAt"], json!(at));
    let key = app.bearer(made.text_of("secret"));
    key.get(ME).await.expect(200);
    app.clock().advance(Duration::from_secs(290)).await;
    key.get(ME).await.expect(200);
    app.clock().advance(Duration::from_secs(11)).await;
    key.get(ME).await.problem("identity.key_invalid", 401);
}

#[tokio::test]
async fn a_key_works_from_its_addresses_only() {
    let proxied = TestApp::with([module(Settings::default())])
        .config(|config| config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")]);
    let app = proxied.start().await;
    let ada = register(&app, "Ada").await;
    let make = |ips: &[&str]| {
        let body = json!({"name": "x", "allowedIps": ips});
        ada.client(&app).post(KEYS, body).into_future()
    };
    let made = make(&["203.0.113.64/26", "2001:db8::/32"]).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    // Twice each: before and after the key is remembered.
    for _ in 0..2 {
        for (ip, status) in [
            ("203.0.113.64", 200),
            ("203.0.113.127", 200),
            ("203.0.113.63", 403),
            ("203.0.113.128", 403),
            ("2001:db8::7", 200),
            ("2001:db9::7", 403),
            ("10.0.0.1", 403),
            // What a client writes in front of the proxy's word counts for nothing.
            ("203.0.113.64, 10.0.0.1", 403),
        ] {
            let answer = key.get(ME).header("x-forwarded-for", ip).await;
            answer.expect(status);
            if status == 403 {
                answer.problem("identity.address_not_allowed", 403);
            }
        }
        key.get(ME).await.problem("identity.address_not_allowed", 403);
    }
    let here = make(&["127.0.0.1"]).await;
    app.bearer(here.text_of("secret")).get(ME).await.expect(200);
}

#[tokio::test]
async fn a_removed_key_stops_at_once_here_and_within_a_second_elsewhere() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "x"})).await;
    let (here, there) = (app.bearer(made.text_of("secret")), node.bearer(made.text_of("secret")));
    here.get(ME).await.expect(200);
    there.get(ME).await.expect(200);
    let path = format!("{KEYS}/{}", made.text_of("id"));
    ada.client(&app).delete(&path).await.expect(204);
    let removed = std::time::Instant::now();
    here.get(ME).await.problem("identity.key_invalid", 401);
    while there.get(ME).await.status() == 200 {
        assert!(removed.elapsed() < Duration::from_secs(2), "the other node does not know yet");
    }
    there.get(ME).await.problem("identity.key_invalid", 401);
    ada.client(&app).delete(&path).await.problem("core.not_found", 404);
    let claims: i64 = sqlx::query_scalar("select count(*) from core.claims where kind = 'api_key'")
        .fetch_one(app.sql())
        .await
        .unwrap();
    assert_eq!(claims, 0);
}

#[tokio::test]
async fn a_typo_in_a_key_is_caught_without_a_query() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "x"})).await;
    let secret = made.text_of("secret").to_owned();
    sqlx::query("alter table core.claims rename to hidden").execute(app.sql()).await.unwrap();
    for place in (8..secret.len()).step_by(2) {
        let mut typo = secret.clone().into_bytes();
        typo[place] = if typo[place] == b'0' { b'1' } else { b'0' };
        let typo = String::from_utf8(typo).unwrap();
        app.bearer(&typo).get(ME).await.problem("identity.key_invalid", 401);
    }
    for odd in [
        "fh_live_",
        "fh_test_x",
        &secret[..40],
        &secret.to_uppercase().replace("FH_LIVE", "fh_live"),
    ] {
        app.bearer(odd).get(ME).await.problem("identity.key_invalid", 401);
    }
    sqlx::query("alter table core.hidden rename to claims").execute(app.sql()).await.unwrap();
    app.bearer(&secret).get(ME).await.expect(200);
}

#[tokio::test]
async fn a_key_with_a_right_checksum_and_a_made_up_secret_is_refused() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "x"})).await;
    let secret = made.text_of("secret");
    let with_checksum = |body: String| format!("{body}{:08x}", crc32fast::hash(body.as_bytes()));
    let guessed = with_checksum(format!("{}{}", &secret[..41], "0".repeat(48)));
    app.bearer(&guessed).get(ME).await.problem("identity.key_invalid", 401);
    let unknown = with_checksum(format!("fh_live_{}_{}", "0".repeat(32), &secret[41..89]));
    app.bearer(&unknown).get(ME).await.problem("identity.key_invalid", 401);
    let sandbox = with_checksum(secret[..89].replace("fh_live_", "fh_test_"));
    app.bearer(&sandbox).get(ME).await.problem("identity.key_invalid", 401);
}

#[tokio::test]
async fn a_key_dies_with_the_membership_of_its_owner() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    let made = member.post(KEYS, json!({"name": "x"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    sqlx::query(
        "update core.memberships set status = 'removed' where user_id = $1 and tenant_id = $2",
    )
    .bind(*ada.user())
    .bind(*bob.tenant())
    .execute(app.sql())
    .await
    .unwrap();
    key.get(ME).await.problem("core.not_found", 404);
    sqlx::query("delete from core.memberships where user_id = $1 and tenant_id = $2")
        .bind(*ada.user())
        .bind(*bob.tenant())
        .execute(app.sql())
        .await
        .unwrap();
    key.get(ME).await.problem("identity.key_invalid", 401);
}

#[tokio::test]
async fn no_key_works_in_a_suspended_tenant() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "x"})).await;
    sqlx::query("update core.tenants set status = 'suspended'").execute(app.sql()).await.unwrap();
    let answer = app.bearer(made.expect(201).text_of("secret")).get(ME).await;
    answer.problem("tenants.suspended", 403);
}

#[tokio::test]
async fn a_sandbox_gives_keys_that_say_so() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    sqlx::query("update core.tenants set kind = 'sandbox' where tenant_id = $1")
        .bind(*ada.tenant())
        .execute(app.sql())
        .await
        .unwrap();
    let made = ada.client(&app).post(KEYS, json!({"name": "x"})).await;
    assert!(made.expect(201).text_of("secret").starts_with("fh_test_"));
    app.bearer(made.text_of("secret")).get(ME).await.expect(200);
}
