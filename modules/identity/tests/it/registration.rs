//! `POST /auth/register`.

use freehold_identity::{Registration, Settings, module};
use freehold_kernel::SystemRole;
use freehold_testkit::TestApp;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::accounts::{PASSWORD, kinds, register, registration, row_counts, start};

const REGISTER: &str = "/api/v1/auth/register";

/// A registration with some of its fields changed.
fn with(changes: &Value) -> Value {
    let mut body = registration("Ada");
    for (name, value) in changes.as_object().expect("fields") {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn registering_makes_a_person_a_tenant_they_own_and_a_session() {
    let app = start().await;
    let body = with(&json!({"email": "Ada@Example.org", "tenantSlug": "analytical-engines"}));
    let answer = app.anonymous().post(REGISTER, body).header("user-agent", "Engine/1").await;
    answer.expect(201);
    assert_eq!(answer.header("location"), "", "a session is no resource of its own");
    let json = answer.json();
    assert_eq!(json["user"]["email"], "Ada@Example.org");
    assert_eq!(json["user"]["name"], "Ada");
    assert_eq!(json["user"]["locale"], "en");
    assert_eq!(json["user"]["timeZone"], "UTC");
    assert_eq!(json["user"]["verifiedAt"], Value::Null);
    assert_eq!(json["tenant"]["slug"], "analytical-engines");
    assert_eq!(json["tenant"]["name"], "Adas");
    assert_eq!(json["tenants"], json!([json["tenant"]]));
    assert_eq!(json["expiresIn"], 600);
    assert!(answer.text_of("refreshToken").starts_with("fhr_"));
    let owns = app.kernel().permissions_of(&[SystemRole::Owner]);
    assert_eq!(json["permissions"], json!(owns.iter().collect::<Vec<_>>()));
    let me = app.bearer(answer.text_of("accessToken")).get("/api/v1/auth/me").await;
    assert_eq!(me.expect(200).json()["user"], json["user"]);
    let kept: (String, String) = sqlx::query_as(
        "select p.hash, m.status from identity.passwords p
         join core.memberships m on m.user_id = p.user_id",
    )
    .fetch_one(app.sql())
    .await
    .unwrap();
    assert!(kept.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", kept.0);
    assert_eq!(kept.1, "active");
}

#[tokio::test]
async fn a_registration_is_recorded_with_the_address_sealed() {
    let app = start().await;
    let request = app.anonymous().post(REGISTER, registration("Ada"));
    let answer =
        request.header("user-agent", "Engine/1").header("x-request-id", "order-1842").await;
    let json = answer.expect(201).json();
    let (user, tenant) = (&json["user"]["id"], json["tenant"]["id"].as_str().unwrap());
    let tenant: freehold_kernel::TenantId = tenant.parse().unwrap();
    let events = app.events(tenant).await;
    let [made, joined, signed_in] = &events[..] else { panic!("{events:#?}") };
    assert_eq!(made.kind, "tenant.created");
    assert_eq!((made.actor.as_str(), &made.subject), ("system", &tenant.to_string()));
    assert_eq!(made.data["slug"], json["tenant"]["slug"]);
    assert_eq!(joined.kind, "user.created");
    assert_eq!(joined.data, json!({"userId": user}), "the address reaches no webhook");
    assert_eq!(app.opened(joined).await["email"], "ada@example.org");
    assert_eq!(signed_in.kind, "session.created");
    assert_eq!(json!(signed_in.actor), *user);
    assert_eq!(json!(signed_in.subject), *user);
    assert_eq!(signed_in.data["method"], "password");
    let opened = app.opened(signed_in).await;
    assert_eq!(opened["ip"], "127.0.0.1");
    assert_eq!(opened["userAgent"], "Engine/1");
    assert_eq!(opened["credential"], signed_in.data["sessionId"]);
    for event in &events {
        assert_eq!(event.request_id.as_deref(), Some("order-1842"));
        let stored = format!("{event:?}{}", event.data);
        assert!(!stored.contains("example.org") && !stored.contains("Engine/1"), "{stored}");
        let sealed = event.personal.clone().unwrap_or_default();
        assert!(!sealed.windows(11).any(|window| window == b"example.org"));
    }
}

#[tokio::test]
async fn a_tenant_without_name_and_slug_is_called_like_its_owner() {
    let app = start().await;
    let body = json!({"email": "ann@example.org", "password": PASSWORD, "name": "Änn & Co"});
    let answer = app.anonymous().post(REGISTER, body).await;
    let tenant = &answer.expect(201).json()["tenant"];
    assert_eq!(tenant["name"], "Änn & Co");
    let slug = tenant["slug"].as_str().unwrap();
    assert!(slug.starts_with("nn-co-") && slug.len() == 14, "{slug}");
}

#[tokio::test]
async fn an_address_registers_once_whatever_its_spelling() {
    let app = start().await;
    register(&app, "Ada").await;
    let before = row_counts(&app).await;
    for spelling in ["ada@example.org", "ADA@EXAMPLE.ORG", "aDa@Example.Org"] {
        let answer = app.anonymous().post(REGISTER, with(&json!({"email": spelling}))).await;
        answer.problem("identity.email_taken", 409);
        assert_eq!(row_counts(&app).await, before, "{spelling}");
    }
}

#[tokio::test]
async fn each_rule_for_passwords_is_named_and_nothing_is_kept() {
    let app = start().await;
    let before = row_counts(&app).await;
    let long = "tarn-Kelp7-obverse".repeat(15);
    for (password, code) in [
        ("tarn-Kelp7-", "identity.password_length"),
        ("", "identity.password_length"),
        (long.as_str(), "identity.password_length"),
        // Twelve code points as typed, fewer after NFKC has composed them.
        ("a\u{301}a\u{301}a\u{301}a\u{301}-K7x", "identity.password_length"),
        ("tarn-kelp7-obverse", "identity.password_composition"),
        ("TARN-KELP7-OBVERSE", "identity.password_composition"),
        ("tarn-Kelp-obverse", "identity.password_composition"),
        ("tarnKelp7obverse", "identity.password_composition"),
        ("Password1234!", "identity.password_guessable"),
        ("Qwertyuiop1!", "identity.password_guessable"),
        ("Ada@Example.org1", "identity.password_personal"),
        ("Tarnkelp-Ada-1", "identity.password_personal"),
    ] {
        let body = with(&json!({"password": password, "tenantName": "Tarnkelp"}));
        let answer = app.anonymous().post(REGISTER, body).await;
        answer.invalid("/password");
        assert_eq!(answer.json()["errors"][0]["code"], code, "{password}");
        let typed = password.len() > 3 && answer.text().contains(password);
        assert!(!typed, "an answer never repeats a password");
    }
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn a_password_is_taken_whole_and_in_any_script() {
    let app = start().await;
    let words = ["tarn", "Kelp7", "obverse", "quillon", "Zephyr", "ombre", "fjeld", "Wyvern9"];
    let sentence: String = words.iter().cycle().take(48).map(|word| format!("{word}-")).collect();
    let longest: String = sentence.chars().take(256).collect();
    for (name, password) in [("Max", longest.as_str()), ("Uni", "größe-7-Wörter-im-Nebel")] {
        let mut body = registration(name);
        body["password"] = json!(password);
        app.anonymous().post(REGISTER, &body).await.expect(201);
        let login = |password: &str| {
            app.anonymous()
                .post("/api/v1/auth/login", json!({"email": body["email"], "password": password}))
        };
        login(password).await.expect(200);
        let cut: String = password.chars().take(password.chars().count() - 1).collect();
        login(&cut).await.problem("identity.invalid_credentials", 401);
    }
}

#[tokio::test]
async fn a_slug_that_is_taken_reserved_or_misshapen_is_refused_and_nothing_is_kept() {
    let app = start().await;
    let first = with(&json!({"tenantSlug": "engines"}));
    app.anonymous().post(REGISTER, first).await.expect(201);
    let before = row_counts(&app).await;
    let taken = with(&json!({"email": "eve@example.org", "tenantSlug": "engines"}));
    let answer = app.anonymous().post(REGISTER, taken).await;
    answer.problem("core.slug_taken", 409);
    assert!(!answer.text().contains("Adas"), "a conflict says nothing about the holder");
    for slug in ["platform", "api", "ab", "-ab", "ab-", "Abc", "a_b", "ä-b", "a b", ""] {
        let body = with(&json!({"email": "eve@example.org", "tenantSlug": slug}));
        app.anonymous().post(REGISTER, body).await.invalid("/tenantSlug");
    }
    let long = with(&json!({"email": "eve@example.org", "tenantSlug": "a".repeat(41)}));
    app.anonymous().post(REGISTER, long).await.invalid("/tenantSlug");
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named_and_nothing_is_kept() {
    let app = start().await;
    let before = row_counts(&app).await;
    let long = "a".repeat(201);
    for (field, value) in [
        ("email", json!("ada")),
        ("email", json!("ada@")),
        ("email", json!("a da@example.org")),
        ("email", json!("e\u{301}ve@example.org")),
        ("email", json!(format!("{}@example.org", "a".repeat(250)))),
        ("email", json!(null)),
        ("name", json!("")),
        ("name", json!(" Ada")),
        ("name", json!("A\u{7}da")),
        ("name", json!(long)),
        ("tenantName", json!("")),
        ("tenantName", json!(long)),
        ("tenantId", json!("ten_01jz8q6k3mf1g8tvkh4z6c9x2b")),
        ("role", json!("Owner")),
        ("status", json!("active")),
    ] {
        let answer = app.anonymous().post(REGISTER, with(&json!({field: value}))).await;
        answer.invalid(&format!("/{field}"));
    }
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn of_64_registrations_of_one_address_exactly_one_succeeds() {
    let app = start().await;
    let tries = (0..64).map(|place| {
        // Hashing waits two seconds at the most, so some may be sent away.
        let body = with(
            &json!({"email": if place % 2 == 0 { "Eve@example.org" } else { "eve@example.org" }}),
        );
        app.anonymous().post(REGISTER, body).expecting_failure().into_future()
    });
    let answers = join_all(tries).await;
    let with_status = |status| answers.iter().filter(|answer| answer.status() == status).count();
    assert_eq!(with_status(201), 1);
    assert_eq!(with_status(409) + with_status(503), 63);
    assert!(with_status(409) > 0, "no two of them met");
    for answer in answers.iter().filter(|answer| answer.status() == 503) {
        answer.problem("identity.hashing_busy", 503);
        assert_eq!(answer.header("retry-after"), "2");
    }
    let counts = row_counts(&app).await;
    for (table, rows) in [
        ("core.users", 1),
        ("core.tenants", 2),
        ("core.claims", 2),
        ("core.memberships", 1),
        ("core.user_tenants", 1),
        ("core.role_assignments", 1),
        ("identity.passwords", 1),
        ("identity.sessions", 1),
    ] {
        assert_eq!(counts[table], rows, "{table}");
    }
}

#[tokio::test]
async fn verified_registration_is_closed_without_a_mailer() {
    let settings = Settings { registration: Registration::Verified, ..Settings::default() };
    let app = TestApp::start([module(settings)]).await;
    let before = row_counts(&app).await;
    let answer = app.anonymous().post(REGISTER, registration("Ada")).expecting_failure().await;
    answer.problem("identity.registration_closed", 503);
    assert_ne!(answer.header("retry-after"), "");
    assert_eq!(row_counts(&app).await, before);
    let platform = crate::accounts::platform(&app).await;
    assert_eq!(kinds(&app, platform).await, ["tenant.created", "signingkey.created"]);
}
