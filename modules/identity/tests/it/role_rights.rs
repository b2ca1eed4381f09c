//! Nobody grants what they lack, nobody takes from those above them, and a change acts on tokens
//! and keys in use on every node.

use std::time::{Duration, Instant};

use freehold_identity::{Settings, module};
use freehold_kernel::SystemRole;
use freehold_testkit::{Client, TestApp};
use serde_json::{Value, json};

use crate::accounts::{dump, join, register, row_counts, start};
use crate::custom_roles::{ROLES, make, path_of};
use crate::members::{self, give};

const KEYS: &str = "/api/v1/api-keys";
const ME: &str = "/api/v1/auth/me";

async fn held(client: &Client) -> Value {
    client.get(ME).await.expect(200).json()["permissions"].clone()
}

/// Asks until the answer is this, and fails a second after the change.
async fn within_a_second(client: &Client, wanted: &Value) {
    let changed = Instant::now();
    while held(client).await != *wanted {
        assert!(changed.elapsed() < Duration::from_secs(1), "the other node does not know yet");
    }
}

#[tokio::test]
async fn nobody_makes_or_changes_a_role_beyond_what_they_may_do() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let (owner, admin) =
        (bob.client(&app), join(&app, bob.tenant(), &ada, SystemRole::Admin).await);
    let high = make(&owner, "Founders", &["users:transfer"]).await;
    let low = make(&admin, "Support", &["roles:read"]).await;
    let before = (row_counts(&app).await, dump(&app, "identity.roles").await);
    let made = make(&admin, "Mine", &["roles:read", "users:transfer"]).await;
    made.problem("identity.grants_too_much", 403);
    assert!(made.text_of("detail").contains("users:transfer"));
    let raised = json!({"permissions": ["users:transfer"]});
    admin.patch(&path_of(&low), raised).await.problem("identity.grants_too_much", 403);
    for change in [json!({"permissions": []}), json!({"name": "Renamed"})] {
        admin.patch(&path_of(&high), change).await.problem("identity.outranks_you", 403);
    }
    admin.delete(&path_of(&high)).await.problem("identity.outranks_you", 403);
    let reassign = |role: &freehold_testkit::Answer| format!("{}/reassign", path_of(role));
    let to_high = json!({"roleId": high.json()["id"]});
    admin.post(&reassign(&low), to_high).await.problem("identity.grants_too_much", 403);
    let to_low = json!({"roleId": low.json()["id"]});
    admin.post(&reassign(&high), to_low).await.problem("identity.outranks_you", 403);
    // A key of the owner's that is narrower than they are.
    let scopes = json!(["roles:read", "roles:write"]);
    let key = owner.post(KEYS, json!({"name": "narrow", "scopes": scopes})).await;
    let narrow = app.bearer(key.expect(201).text_of("secret"));
    make(&narrow, "Mine", &["users:read"]).await.problem("identity.grants_too_much", 403);
    make(&narrow, "Narrow", &["roles:read"]).await.expect(201);
    let after = dump(&app, "identity.roles").await;
    assert!(!after.contains("Mine") && !after.contains("Renamed"));
    assert_eq!(row_counts(&app).await["identity.roles"], before.0["identity.roles"] + 1);
}

#[tokio::test]
async fn nobody_gives_or_takes_a_role_beyond_what_they_may_do() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let cyd = register(&app, "Cyd").await;
    let (owner, admin) =
        (bob.client(&app), join(&app, bob.tenant(), &ada, SystemRole::Admin).await);
    join(&app, bob.tenant(), &cyd, SystemRole::Viewer).await;
    let high = make(&owner, "Founders", &["users:transfer"]).await;
    let before = dump(&app, "core.role_assignments").await;
    let high = high.json()["id"].clone();
    for role in [high.clone(), json!(SystemRole::Owner.id())] {
        for user in [ada.user(), cyd.user()] {
            let given = give(&admin, user, json!([SystemRole::Admin.id(), role])).await;
            given.problem("identity.grants_too_much", 403);
        }
        let account = json!({"name": "x", "roleIds": [role]});
        let made = admin.post("/api/v1/service-accounts", account).await;
        made.problem("identity.grants_too_much", 403);
    }
    let demoted = give(&admin, bob.user(), json!([SystemRole::Viewer.id()])).await;
    demoted.problem("identity.outranks_you", 403);
    admin.delete(&members::path_of(bob.user())).await.problem("identity.outranks_you", 403);
    assert_eq!(dump(&app, "core.role_assignments").await, before);
    // What somebody above them holds already may stay.
    give(&owner, cyd.user(), json!([high])).await.expect(200);
    give(&admin, cyd.user(), json!([high, SystemRole::Agent.id()])).await.expect(200);
    give(&admin, cyd.user(), json!([high])).await.expect(200);
}

#[tokio::test]
async fn a_change_of_roles_acts_on_tokens_and_keys_in_use_on_every_node() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let (owner, here) =
        (bob.client(&app), join(&app, bob.tenant(), &ada, SystemRole::Member).await);
    let key = here.post(KEYS, json!({"name": "x"})).await;
    let key = node.bearer(key.expect(201).text_of("secret"));
    let there = node.bearer(here.token());
    let member = held(&here).await;
    assert_eq!((held(&there).await, held(&key).await), (member.clone(), member));

    let support = make(&owner, "Support", &["roles:read", "users:read"]).await;
    give(&owner, ada.user(), json!([support.json()["id"]])).await.expect(200);
    let wanted = json!(["roles:read", "users:read"]);
    assert_eq!(held(&here).await, wanted, "at once");
    within_a_second(&there, &wanted).await;
    within_a_second(&key, &wanted).await;
    here.post(KEYS, json!({"name": "y"})).await.problem("core.permission_missing", 403);

    let patch = json!({"permissions": ["users:read"]});
    owner.patch(&path_of(&support), patch).await.expect(200);
    let wanted = json!(["users:read"]);
    assert_eq!(held(&here).await, wanted, "at once");
    within_a_second(&there, &wanted).await;
    within_a_second(&key, &wanted).await;
    there.get(ROLES).await.problem("core.permission_missing", 403);

    let target = json!({"roleId": SystemRole::Viewer.id()});
    owner.post(&format!("{}/reassign", path_of(&support)), target).await.expect(200);
    let viewer = app.kernel().permissions_of(&[SystemRole::Viewer]);
    let wanted = json!(viewer.iter().collect::<Vec<_>>());
    assert_eq!(held(&here).await, wanted, "at once");
    within_a_second(&there, &wanted).await;
    within_a_second(&key, &wanted).await;
}

#[tokio::test]
async fn custom_roles_add_up_and_forget_what_no_module_declares_any_more() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let one = make(&client, "One", &["roles:read"]).await;
    let two = make(&client, "Two", &["users:read", "roles:read"]).await;
    sqlx::query("update identity.roles set permissions = permissions || '{gone:read}'")
        .execute(app.sql())
        .await
        .unwrap();
    let roles = json!([one.json()["id"], two.json()["id"]]);
    let account =
        client.post("/api/v1/service-accounts", json!({"name": "import", "roleIds": roles})).await;
    let body = json!({"name": "x", "serviceAccountId": account.expect(201).json()["id"]});
    let key = client.post(KEYS, body).await;
    let program = app.bearer(key.expect(201).text_of("secret"));
    assert_eq!(held(&program).await, json!(["roles:read", "users:read"]));
    let seen = client.get(&path_of(&two)).await;
    assert_eq!(seen.json()["permissions"], json!(["roles:read", "users:read"]));
    // It does not stand in the way of a change, which does away with it.
    let patch = json!({"permissions": ["roles:read"]});
    client.patch(&path_of(&two), patch).await.expect(200);
    assert_eq!(held(&program).await, json!(["roles:read"]));
}

#[tokio::test]
async fn nobody_makes_a_key_for_a_program_whose_custom_role_allows_more() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let (owner, admin) =
        (bob.client(&app), join(&app, bob.tenant(), &ada, SystemRole::Admin).await);
    let high = make(&owner, "Founders", &["users:transfer"]).await;
    let account = json!({"name": "import", "roleIds": [high.json()["id"]]});
    let account = owner.post("/api/v1/service-accounts", account).await;
    let body = json!({"name": "x", "serviceAccountId": account.expect(201).json()["id"]});
    admin.post(KEYS, &body).await.problem("identity.grants_too_much", 403);
    owner.post(KEYS, &body).await.expect(201);
}
