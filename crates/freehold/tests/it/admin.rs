//! `freehold admin` beside a running installation, which acts on it within a second.

use std::time::{Duration, Instant};

use freehold_kernel::TenantId;
use freehold_testkit::{Client, RecordedEvent, TestApp};
use serde_json::json;

use crate::life;
use crate::process::{Ran, Start, folder, run};

const KEY: &str = "a secret that only tests may know";

/// Gives a command to the installation of the application.
fn admin(app: &TestApp, arguments: &[&str]) -> Ran {
    let environment = [
        ("DATABASE_URL", &*app.database_url("freehold_app")),
        ("DATABASE_SYSTEM_URL", &app.database_url("freehold_system")),
        ("FREEHOLD_SECRET_KEY", KEY),
    ];
    run(folder().path(), &[&["admin"], arguments].concat(), &environment)
}

#[track_caller]
fn done(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{}{}", ran.said, ran.complaint);
    assert_eq!(ran.complaint, "");
    ran.said
}

/// What a refused command said.
#[track_caller]
fn refused(ran: Ran) -> String {
    assert_eq!(ran.code, 1, "{}", ran.said);
    ran.complaint
}

/// Signs in; answers with what the API says.
async fn sign_in(app: &TestApp, email: &str, password: &str) -> serde_json::Value {
    let body = json!({"email": email, "password": password});
    app.anonymous().post("/api/v1/auth/login", body).await.expect(200).json().clone()
}

/// Waits until a token is refused.
async fn ends(client: &Client) {
    let began = Instant::now();
    while client.get("/api/v1/auth/me").await.status() != 401 {
        assert!(began.elapsed() < Duration::from_secs(5), "the token is still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a key is published. For a moment there may be none: the old one is refused at once, and
/// the new one is being loaded. Whoever wants a token meanwhile is told to try again (503).
async fn published(app: &TestApp) {
    let began = Instant::now();
    while app.anonymous().get("/.well-known/jwks.json").await.json()["keys"] == json!([]) {
        assert!(began.elapsed() < Duration::from_secs(5), "no key is published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The last event of a kind.
async fn last(app: &TestApp, tenant: TenantId, kind: &str) -> RecordedEvent {
    let events = app.events(tenant).await;
    events.into_iter().rfind(|event| event.kind == kind).unwrap()
}

async fn platform(app: &TestApp) -> TenantId {
    let id: sqlx::types::Uuid =
        sqlx::query_scalar("select tenant_id from core.tenants where kind = 'platform'")
            .fetch_one(app.sql())
            .await
            .unwrap();
    TenantId::from_uuid(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_operator_signs_in_with_the_password_that_was_printed_once() {
    let app = life::app().await;
    assert!(done(admin(&app, &["operator", "list"])).contains("operator add"));
    let said = done(admin(&app, &["operator", "add", "op@example.org", "--name", "Olga"]));
    let password = said.lines().find_map(|line| line.strip_prefix("  ")).unwrap();
    let signed_in = sign_in(&app, "op@example.org", password).await;
    assert_eq!(signed_in["tenant"]["slug"], "platform");
    assert_eq!(signed_in["user"]["name"], "Olga");
    let event = last(&app, platform(&app).await, "user.role_changed").await;
    assert_eq!((&*event.actor, &event.data["userId"]), ("system", &signed_in["user"]["id"]));

    let again = done(admin(&app, &["operator", "add", "OP@example.org"]));
    assert!(again.contains("nothing has changed") && !again.contains("password"), "{again}");
    let list = done(admin(&app, &["operator", "list"]));
    assert!(list.contains("op@example.org  Olga  usr_") && list.lines().count() == 1, "{list}");
    let no_address = refused(admin(&app, &["operator", "add", "olga"]));
    assert!(no_address.contains("`olga`"), "{no_address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_known_becomes_an_operator_and_stops_being_one_at_once() {
    let app = life::app().await;
    let ada = life::register(&app, "Ada").await;
    let email = ada.json()["user"]["email"].as_str().unwrap().to_owned();
    let said = done(admin(&app, &["operator", "add", &email]));
    assert!(said.contains("the password they have"), "{said}");
    let token = app.bearer(ada.text_of("accessToken"));
    let there = json!({"tenantId": platform(&app).await});
    let switched = token.post("/api/v1/auth/switch-tenant", there).await;
    let operator = app.bearer(switched.expect(200).text_of("accessToken"));
    operator.get("/api/v1/auth/me").await.expect(200);

    let only = refused(admin(&app, &["operator", "remove", &email]));
    assert!(only.contains("the only operator") && only.contains("operator add"), "{only}");
    done(admin(&app, &["operator", "add", "other@example.org"]));
    done(admin(&app, &["operator", "remove", &email]));
    ends(&operator).await;
    let event = last(&app, platform(&app).await, "user.deleted").await;
    assert_eq!((&*event.actor, &event.data["userId"]), ("system", &ada.json()["user"]["id"]));
    let again = refused(admin(&app, &["operator", "remove", &email]));
    assert!(again.contains("is no operator"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_by_hand_is_out_everywhere() {
    let app = life::app().await;
    let (ada, bob) = (life::register(&app, "Ada").await, life::register(&app, "Bob").await);
    let email = ada.json()["user"]["email"].as_str().unwrap().to_owned();
    let tenant: TenantId = ada.json()["tenant"]["id"].as_str().unwrap().parse().unwrap();
    let token = app.bearer(ada.text_of("accessToken"));
    token.get("/api/v1/auth/me").await.expect(200);
    let said = done(admin(&app, &["sessions", "revoke", &email]));
    assert!(said.starts_with("1 of "), "{said}");
    ends(&token).await;
    app.bearer(bob.text_of("accessToken")).get("/api/v1/auth/me").await.expect(200);
    let event = last(&app, tenant, "session.revoked").await;
    assert_eq!((&*event.actor, &event.data["reason"]), ("system", &json!("operator")));
    assert!(done(admin(&app, &["sessions", "revoke", &email])).contains("signed in nowhere"));
    let nobody = refused(admin(&app, &["sessions", "revoke", "nobody@example.org"]));
    assert!(nobody.contains("nobody@example.org"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_have_leaked_signs_nothing_that_is_taken_and_sessions_go_on() {
    let app = life::app().await;
    let ada = life::register(&app, "Ada").await;
    let token = app.bearer(ada.text_of("accessToken"));
    token.get("/api/v1/auth/me").await.expect(200);
    let said = done(admin(&app, &["rotate-keys", "--now"]));
    assert!(said.starts_with("sgn_") && said.contains("withdrawn"), "{said}");
    ends(&token).await;
    published(&app).await;
    let refresh = json!({"refreshToken": ada.text_of("refreshToken")});
    let refreshed = app.anonymous().post("/api/v1/auth/refresh", refresh).await;
    let token = app.bearer(refreshed.expect(200).text_of("accessToken"));
    token.get("/api/v1/auth/me").await.expect(200);
    let asked = admin(&app, &["rotate-keys"]);
    assert!(asked.code == 2 && asked.complaint.contains("--now"), "{}", asked.complaint);
}

#[test]
fn the_folder_of_up_is_enough_whether_it_runs_or_not() {
    let folder = folder();
    let data = folder.path().join("data");
    let place = data.to_str().unwrap();
    let list = || run(folder.path(), &["admin", "operator", "list", "--data-dir", place], &[]);
    let nothing = refused(list());
    assert!(nothing.contains(place) && nothing.contains("DATABASE_URL"), "{nothing}");
    let running = Start::in_folder(&data).run();
    assert!(done(list()).contains("operator@freehold.example"));
    let checked =
        run(folder.path(), &["doctor", "--data-dir", place, "--listen", "127.0.0.1:0"], &[]);
    assert!(checked.said.contains("ok    row-level-security"), "{}", checked.said);
    assert_eq!(checked.code, 0, "{}{}", checked.said, checked.complaint);
    assert!(running.stop().success());
    assert!(done(list()).contains("operator@freehold.example"));
    let again = Start::in_folder(&data).run();
    assert!(again.stop().success());
}
