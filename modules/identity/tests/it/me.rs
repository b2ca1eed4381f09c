//! `GET` and `PATCH /auth/me`.

use freehold_kernel::SystemRole;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::accounts::{add_member, register, row_counts, start};

const ME: &str = "/api/v1/auth/me";

#[tokio::test]
async fn a_person_sees_who_they_are_where_and_what_they_may_do() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Viewer).await;
    let answer = ada.client(&app).get(ME).await;
    let me = answer.expect(200).json();
    assert_eq!(me["principal"], json!(ada.user()));
    assert_eq!(me["user"], ada.answer.json()["user"]);
    assert_eq!(me["tenant"], ada.answer.json()["tenant"]);
    assert_eq!(me["tenants"].as_array().unwrap().len(), 2);
    assert_eq!(me["permissions"], ada.answer.json()["permissions"]);
    app.anonymous().get(ME).await.problem("core.unauthenticated", 401);
}

#[tokio::test]
async fn absent_keeps_null_clears_and_a_value_sets() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let all = json!({"name": "Ada King", "locale": "en-GB", "timeZone": "Europe/London"});
    let answer = client.patch(ME, &all).await;
    let person = answer.expect(200).json();
    for (field, value) in all.as_object().unwrap() {
        assert_eq!(person[field], *value);
    }
    assert_eq!(client.patch(ME, json!({})).await.expect(200).json(), person);
    let cleared = client.patch(ME, json!({"locale": null, "timeZone": null})).await;
    let cleared = cleared.expect(200).json();
    assert_eq!((&cleared["locale"], &cleared["timeZone"]), (&json!("en"), &json!("UTC")));
    assert_eq!(cleared["name"], "Ada King");
    client.patch(ME, json!({"name": null})).await.invalid("/name");
    assert_eq!(client.get(ME).await.json()["user"], *cleared);
    let known_as: String =
        sqlx::query_scalar("select name from core.memberships").fetch_one(app.sql()).await.unwrap();
    assert_eq!(known_as, "Ada King");
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_named_and_nothing_is_kept() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let before = row_counts(&app).await;
    for (field, value) in [
        ("name", json!("")),
        ("name", json!(" Ada")),
        ("name", json!("a\u{1b}b")),
        ("name", json!("a".repeat(201))),
        ("name", json!(7)),
        ("locale", json!("german")),
        ("locale", json!("de_DE")),
        ("locale", json!("")),
        ("timeZone", json!("Mars/Olympus")),
        ("timeZone", json!("")),
        ("timeZone", json!("../../etc/passwd")),
        ("email", json!("eve@example.org")),
        ("id", json!("usr_01jz8q6k3mf1g8tvkh4z6c9x2b")),
        ("status", json!("active")),
    ] {
        let answer = ada.client(&app).patch(ME, json!({"name": "Eve", field: value})).await;
        answer.invalid(&format!("/{field}"));
    }
    assert_eq!(row_counts(&app).await, before);
    assert_eq!(ada.client(&app).get(ME).await.json()["user"], ada.answer.json()["user"]);
}

#[tokio::test]
async fn a_change_is_recorded_in_every_tenant_of_the_person_with_the_fields_sealed() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let eve = register(&app, "Eve").await;
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Viewer).await;
    let elsewhere = app.events(eve.tenant()).await.len();
    let patch = json!({"name": "Ada King", "locale": "en"});
    ada.client(&app).patch(ME, patch).await.expect(200);
    for tenant in [ada.tenant(), bob.tenant()] {
        let event = app.last_event(tenant).await;
        assert_eq!(event.kind, "user.updated");
        assert_eq!(event.actor, ada.user().to_string());
        assert_eq!(event.subject, ada.user().to_string());
        assert_eq!(event.data, json!({"userId": ada.user()}), "no name in the open part");
        let opened = app.opened(&event).await;
        assert_eq!(opened["before"], json!({"name": "Ada"}), "only what changed");
        assert_eq!(opened["after"], json!({"name": "Ada King"}));
    }
    assert_eq!(app.events(eve.tenant()).await.len(), elsewhere);
    let names: Vec<(String,)> =
        sqlx::query_as("select distinct name from core.memberships where user_id = $1")
            .bind(*ada.user())
            .fetch_all(app.sql())
            .await
            .unwrap();
    assert_eq!(names, [("Ada King".to_owned(),)]);
}

#[tokio::test]
async fn changes_at_the_same_time_do_not_undo_each_other() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    for round in 0..5 {
        let name = format!("Ada {round}");
        let zone = ["Europe/Paris", "Asia/Tokyo"][round % 2];
        let locale = ["fr", "ja"][round % 2];
        let patches = [json!({"name": name}), json!({"timeZone": zone}), json!({"locale": locale})];
        let answers = patches.map(|patch| client.patch(ME, patch).into_future());
        join_all(answers).await.iter().for_each(|answer| {
            answer.expect(200);
        });
        let me = client.get(ME).await;
        let seen = ["name", "timeZone", "locale"].map(|field| me.json()["user"][field].clone());
        assert_eq!(seen, [json!(name), json!(zone), json!(locale)]);
    }
}

#[tokio::test]
async fn a_key_changes_no_profile_and_tells_nothing_of_other_tenants() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Viewer).await;
    let made = ada.client(&app).post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    let before = (app.events(bob.tenant()).await.len(), app.events(ada.tenant()).await.len());
    key.patch(ME, json!({"name": "Eve"})).await.problem("identity.not_a_session", 403);
    let me = key.get(ME).await;
    assert_eq!(me.expect(200).json()["user"], ada.answer.json()["user"]);
    assert_eq!(me.json()["tenant"], ada.answer.json()["tenant"]);
    assert_eq!(me.json()["tenants"], json!([ada.answer.json()["tenant"]]));
    let after = (app.events(bob.tenant()).await.len(), app.events(ada.tenant()).await.len());
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_program_sees_its_tenant_and_has_no_profile() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let role = SystemRole::Viewer.id();
    let account = json!({"name": "import", "roleIds": [role]});
    let account = client.post("/api/v1/service-accounts", account).await;
    let key = json!({"name": "import", "serviceAccountId": account.expect(201).text_of("id")});
    let key = client.post("/api/v1/api-keys", key).await;
    let program = app.bearer(key.expect(201).text_of("secret"));
    let answer = program.get(ME).await;
    let me = answer.expect(200).json();
    assert_eq!(me["principal"], account.json()["id"]);
    assert_eq!(me["user"], Value::Null);
    assert_eq!(me["tenant"], ada.answer.json()["tenant"]);
    program.patch(ME, json!({"name": "x"})).await.problem("identity.not_a_person", 403);
}
