//! `POST /auth/change-password`.

use std::time::Duration;

use freehold_kernel::SystemRole;
use freehold_testkit::{Answer, Client};
use futures_util::future::{join, join_all};
use serde_json::json;

use crate::accounts::{
    PASSWORD, add_member, dump, kinds, last, login, refresh, register, row_counts, start,
};

const ME: &str = "/api/v1/auth/me";
const NEW: &str = "gorse-Lamp4-tundra";

async fn change(client: &Client, from: &str, to: &str) -> Answer {
    let body = json!({"currentPassword": from, "newPassword": to});
    client.post("/api/v1/auth/change-password", body).await
}

#[tokio::test]
async fn the_new_password_is_good_from_now_on_and_the_earlier_one_is_not() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    change(&ada.client(&app), PASSWORD, NEW).await.expect(200);
    let earlier = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    earlier.problem("identity.invalid_credentials", 401);
    login(&app, json!({"email": ada.email, "password": NEW})).await.expect(200);
    assert!(!dump(&app, "identity.passwords").await.contains(NEW));
}

#[tokio::test]
async fn every_other_session_ends_and_this_one_stays() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let phone = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Member).await;
    change(&ada.client(&app), PASSWORD, NEW).await.expect(200);
    let there = app.bearer(phone.text_of("accessToken"));
    there.get(ME).await.problem("identity.session_ended", 401);
    refresh(&app, phone.text_of("refreshToken")).await.problem("identity.session_ended", 401);
    ada.client(&app).get(ME).await.expect(200);
    refresh(&app, ada.refresh()).await.expect(200);
    bob.client(&app).get(ME).await.expect(200);

    let ended = last(&app, ada.tenant(), "session.revoked").await;
    assert_eq!(ended.data["reason"], "password_changed");
    for tenant in [ada.tenant(), bob.tenant()] {
        let event = last(&app, tenant, "user.password_changed").await;
        assert_eq!(event.actor, ada.user().to_string());
        assert_eq!(event.data, json!({"userId": ada.user()}));
    }
}

#[tokio::test]
async fn devices_that_signed_in_with_the_earlier_password_are_strangers_and_this_one_is_not() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    app.clock().advance(Duration::from_secs(60)).await;
    let changed = change(&ada.client(&app), PASSWORD, NEW).await;
    let device = changed.expect(200).text_of("deviceToken").to_owned();
    let sign_in = |password, device: &str| {
        login(
            &app,
            json!({"email": "ada@example.org", "password": password, "deviceToken": device}),
        )
    };
    for _ in 0..5 {
        sign_in("wrong", ada.answer.text_of("deviceToken")).await.expect(401);
    }
    sign_in(NEW, ada.answer.text_of("deviceToken")).await.problem("identity.locked", 429);
    sign_in(NEW, &device).await.expect(200);
}

#[tokio::test]
async fn a_wrong_current_password_changes_nothing_and_five_lock_this_session_only() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let phone = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    let client = ada.client(&app);
    for _ in 0..5 {
        let answer = change(&client, "wrong", NEW).await;
        answer.invalid("/currentPassword");
        assert_eq!(answer.json()["errors"][0]["code"], "identity.wrong_password");
    }
    let event = last(&app, ada.tenant(), "auth.failed").await;
    assert_eq!(event.data["method"], "reauthentication");
    assert_eq!(event.actor, ada.user().to_string());
    assert_eq!(last(&app, ada.tenant(), "auth.locked").await.data["source"], "session");
    let refused = change(&client, PASSWORD, NEW).await;
    refused.problem("identity.locked", 429);
    assert_eq!(refused.header("retry-after"), "1800");
    client.get(ME).await.expect(200);
    login(&app, json!({"email": ada.email, "password": PASSWORD})).await.expect(200);
    let there = app.bearer(phone.text_of("accessToken"));
    change(&there, PASSWORD, NEW).await.expect(200);
}

#[tokio::test]
async fn the_new_password_keeps_the_rules_and_is_another_one() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let before = row_counts(&app).await;
    for (new, code) in [
        ("Sh0rt!", "identity.password_length"),
        ("alllowercase12!", "identity.password_composition"),
        ("Password1234!", "identity.password_guessable"),
        ("Ada@Example.Org1", "identity.password_personal"),
        (PASSWORD, "identity.password_unchanged"),
    ] {
        let answer = change(&client, PASSWORD, new).await;
        answer.invalid("/newPassword");
        assert_eq!(answer.json()["errors"][0]["code"], code, "{new}");
    }
    assert_eq!(row_counts(&app).await, before);
    login(&app, json!({"email": ada.email, "password": PASSWORD})).await.expect(200);
}

#[tokio::test]
async fn no_session_outlives_the_change_that_was_opened_with_the_earlier_password() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let sign_ins = (0..6).map(|_| login(&app, json!({"email": ada.email, "password": PASSWORD})));
    let (changed, signed_in) = join(change(&client, PASSWORD, NEW), join_all(sign_ins)).await;
    changed.expect(200);
    for answer in signed_in.iter().filter(|answer| answer.status() == 200) {
        let there = app.bearer(answer.text_of("accessToken"));
        there.get(ME).await.problem("identity.session_ended", 401);
        refresh(&app, answer.text_of("refreshToken")).await.problem("identity.session_ended", 401);
    }
}

#[tokio::test]
async fn of_two_changes_at_once_one_wins() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let other = "heron-Vault9-mosaic";
    let (one, two) = join(change(&client, PASSWORD, NEW), change(&client, PASSWORD, other)).await;
    let (won, lost) = if one.status() == 200 { (NEW, &two) } else { (other, &one) };
    assert!([409, 422].contains(&lost.status()), "{lost}");
    login(&app, json!({"email": ada.email, "password": won})).await.expect(200);
    let kinds = kinds(&app, ada.tenant()).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "user.password_changed").count(), 1);
}

#[tokio::test]
async fn a_key_cannot_change_a_password() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    change(&key, PASSWORD, NEW).await.problem("identity.not_a_session", 403);
    login(&app, json!({"email": ada.email, "password": PASSWORD})).await.expect(200);
}
