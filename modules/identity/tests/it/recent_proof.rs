//! What makes or unmakes an owner needs a proof, within the last five minutes, that it is them.

use std::time::Duration;

use freehold_kernel::SystemRole;
use freehold_testkit::{Answer, Client, TestApp};
use serde_json::{Value, json};

use crate::accounts::{Account, PASSWORD, join, register, row_counts, start};
use crate::custom_roles::{make, path_of as role_path};
use crate::members::{give, path_of};

const ACCOUNTS: &str = "/api/v1/service-accounts";
const KEYS: &str = "/api/v1/api-keys";

/// The same session, with the token that stepping up answers.
async fn stepped_up(app: &TestApp, account: &Account) -> Client {
    let proof = json!({"password": PASSWORD});
    let answer = account.client(app).post("/api/v1/auth/step-up", proof).await;
    app.bearer(answer.expect(200).text_of("accessToken"))
}

fn refused(answer: &Answer) {
    answer.problem("core.step_up_required", 403);
    assert!(answer.text_of("detail").contains("POST /api/v1/auth/step-up"), "{answer}");
}

/// Ada owns a tenant in which Bob is an owner and Cyd a viewer; nobody proved anything lately.
async fn six_minutes_later() -> (TestApp, [Account; 3]) {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let (bob, cyd) = (register(&app, "Bob").await, register(&app, "Cyd").await);
    join(&app, ada.tenant(), &bob, SystemRole::Owner).await;
    join(&app, ada.tenant(), &cyd, SystemRole::Viewer).await;
    app.clock().advance(Duration::from_secs(360)).await;
    (app, [ada, bob, cyd])
}

#[tokio::test]
async fn people_become_and_stop_being_owners_only_by_somebody_who_has_just_proved_it_is_them() {
    let (app, [ada, bob, cyd]) = six_minutes_later().await;
    let client = ada.client(&app);
    let owner = json!([SystemRole::Owner.id()]);
    let before = row_counts(&app).await;
    refused(&give(&client, cyd.user(), owner.clone()).await);
    refused(&give(&client, bob.user(), json!([SystemRole::Admin.id()])).await);
    refused(&client.delete(&path_of(bob.user())).await);
    assert_eq!(row_counts(&app).await, before);
    give(&client, cyd.user(), json!([SystemRole::Admin.id()])).await.expect(200);

    let recent = stepped_up(&app, &ada).await;
    give(&recent, cyd.user(), owner.clone()).await.expect(200);
    give(&recent, bob.user(), json!([SystemRole::Admin.id()])).await.expect(200);
    recent.delete(&path_of(cyd.user())).await.expect(204);
    // The token from before has proved nothing: whoever copied it has not stepped up.
    refused(&give(&client, bob.user(), owner.clone()).await);
    app.clock().advance(Duration::from_secs(301)).await;
    refused(&give(&recent, bob.user(), owner).await);
    recent.delete(&path_of(bob.user())).await.expect(204);
}

#[tokio::test]
async fn programs_and_keys_that_can_do_what_an_owner_can_need_a_recent_proof() {
    let (app, [ada, ..]) = six_minutes_later().await;
    let client = ada.client(&app);
    let program = |name: &str, role: SystemRole| json!({"name": name, "roleIds": [role.id()]});
    let narrow = json!({"name": "narrow", "scopes": ["users:read"]});
    refused(&client.post(ACCOUNTS, program("x", SystemRole::Owner)).await);
    refused(&client.post(KEYS, json!({"name": "everything"})).await);
    refused(&client.post(KEYS, json!({"name": "x", "scopes": ["users:transfer"]})).await);
    client.post(ACCOUNTS, program("admin", SystemRole::Admin)).await.expect(201);
    client.post(KEYS, narrow).await.expect(201);

    let recent = stepped_up(&app, &ada).await;
    recent.post(ACCOUNTS, program("x", SystemRole::Owner)).await.expect(201);
    let key = recent.post(KEYS, json!({"name": "everything"})).await;
    let rotate = format!("{KEYS}/{}/rotate", key.expect(201).text_of("id"));
    refused(&client.request("POST", &rotate).await);
    recent.request("POST", &rotate).await.expect(200);
}

#[tokio::test]
async fn a_key_makes_no_owner_but_renews_itself() {
    let (app, [ada, bob, cyd]) = six_minutes_later().await;
    let recent = stepped_up(&app, &ada).await;
    let made = recent.post(KEYS, json!({"name": "everything"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    let no_key = |answer: &Answer| {
        answer.problem("core.step_up_required", 403);
        assert!(answer.text_of("detail").contains("a key may not"), "{answer}");
    };
    no_key(&give(&key, cyd.user(), json!([SystemRole::Owner.id()])).await);
    no_key(&key.delete(&path_of(bob.user())).await);
    no_key(&key.post(KEYS, json!({"name": "another"})).await);
    let rotate = format!("{KEYS}/{}/rotate", made.text_of("id"));
    key.request("POST", &rotate).await.expect(200);
}

#[tokio::test]
async fn a_role_that_makes_owners_and_a_move_of_everybody_need_a_recent_proof() {
    let (app, [ada, ..]) = six_minutes_later().await;
    let client = ada.client(&app);
    refused(&make(&client, "Heir", &["users:transfer"]).await);
    let role = make(&client, "Support", &["users:read"]).await;
    let more = json!({"permissions": ["users:read", "users:transfer"]});
    refused(&client.patch(&role_path(&role), &more).await);
    client.patch(&role_path(&role), json!({"permissions": ["roles:read"]})).await.expect(200);
    let reassign = format!("{}/reassign", role_path(&role));
    let to = json!({"roleId": SystemRole::Viewer.id()});
    refused(&client.post(&reassign, &to).await);

    let recent = stepped_up(&app, &ada).await;
    recent.post(&reassign, &to).await.expect(200);
    recent.patch(&role_path(&role), &more).await.expect(200);
}

#[tokio::test]
async fn the_description_of_the_api_says_where_a_recent_proof_is_needed() {
    let app = start().await;
    let paths = &app.kernel().openapi_document()["paths"];
    let always = &paths["/api/v1/roles/{id}/reassign"]["post"];
    assert_eq!(always["x-step-up"], json!({"withinSeconds": 300, "when": "always"}));
    let at_times = &paths["/api/v1/users/{id}"]["patch"];
    let when = at_times["x-step-up"]["when"].as_str().unwrap();
    for operation in [always, at_times] {
        let codes = operation["x-error-codes"].as_array().unwrap();
        assert!(codes.contains(&json!("core.step_up_required")));
        assert!(operation["description"].as_str().unwrap().contains("`POST /auth/step-up`"));
    }
    assert!(at_times["description"].as_str().unwrap().contains(when), "{at_times}");
    assert_eq!(paths["/api/v1/users/{id}"]["get"]["x-step-up"], Value::Null);
}
