//! `POST /portal-links`, and what such a link is worth: to those it was made for, and to those who
//! would have it be worth more.

use freehold_identity::{Settings, module};
use freehold_kernel::SystemRole::{Admin, Owner, Viewer};
use freehold_kernel::{Cx, Json, Module, Result, Routes, SystemRole, Timestamp, endpoint};
use freehold_testkit::{Answer, Client, TestApp};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access_token::Forge;
use crate::accounts::{dump, join, last, register};

pub(crate) const LINKS: &str = "/api/v1/portal-links";
pub(crate) const KEYS: &str = "/api/v1/api-keys";
const OPEN: &str = "/api/v1/webhooks";
const CLOSED: &str = "/api/v1/webhooks/closed";

/// Who is asking, as a handler sees it.
#[derive(Serialize, ToSchema)]
struct Seen {
    /// The customer.
    customer: Option<String>,
    /// What they may do.
    permissions: Vec<String>,
    /// Who they are.
    principal: String,
}

/// Say who is asking.
#[endpoint]
async fn see(cx: Cx) -> Result<Json<Seen>> {
    let actor = cx.signed_in()?;
    Ok(Json(Seen {
        customer: actor.customer.as_deref().map(ToOwned::to_owned),
        permissions: actor.permissions.iter().map(ToOwned::to_owned).collect(),
        principal: actor.principal.to_string(),
    }))
}

/// Stands for the module whose things customers manage.
pub(crate) fn hooks() -> Module {
    Module::new("hooks")
        .resource("webhook", "webhooks")
        .resource("event", "events")
        .permission("webhooks:read", "See", &[Owner, Admin, Viewer])
        .permission("webhooks:write", "Change", &[Owner, Admin])
        .permission("webhooks:delete", "Remove", &[Owner])
        .permission("events:read", "See kinds", &[Owner, Admin, Viewer])
        .routes(Routes::at(OPEN).get("/", "webhooks:read", see).portal().get(
            "/closed",
            "webhooks:read",
            closed,
        ))
}

/// Say the same, to the tenant's own people.
#[endpoint]
async fn closed(cx: Cx) -> Result<Json<Seen>> {
    cx.signed_in()?;
    Ok(Json(Seen { customer: None, permissions: Vec::new(), principal: String::new() }))
}

pub(crate) async fn start() -> TestApp {
    TestApp::start([module(Settings::default()), hooks()]).await
}

pub(crate) async fn link(client: &Client) -> Answer {
    let made = client.post(LINKS, json!({"customer": "cust_1"})).await;
    made.expect(201);
    made
}

pub(crate) async fn ask(app: &TestApp, token: &str) -> Answer {
    app.bearer(token).get(OPEN).await
}

pub(crate) async fn holds(app: &TestApp, link: &Answer) {
    ask(app, link.text_of("token")).await.expect(200);
}

pub(crate) async fn is_over(app: &TestApp, link: &Answer, code: &str, status: u16) {
    ask(app, link.text_of("token")).await.problem(code, status);
}

#[tokio::test]
async fn a_link_says_what_it_was_made_for_and_is_recorded_without_its_token() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let page = "https://app.example.com/hooks?lang=de";
    let body = json!({
        "customer": "cust_1", "permissions": ["webhooks:write", "webhooks:read", "webhooks:read"],
        "pageUrl": page, "expiresInSeconds": 120,
    });
    let now = app.clock().now().unix_seconds();
    let made = ada.client(&app).post(LINKS, body).await;
    let (token, id) = (made.expect(201).text_of("token"), made.text_of("id"));
    assert!(id.starts_with("ptl_"), "{id}");
    assert_eq!(made.text_of("url"), format!("{page}#token={token}"));
    assert_eq!(made.json()["permissions"], json!(["webhooks:read", "webhooks:write"]));
    let forge = Forge::of(&app, token).await;
    assert_eq!((&forge.head["typ"], &forge.head["alg"]), (&json!("portal+jwt"), &json!("EdDSA")));
    let lasts = forge.claims["exp"].as_i64().unwrap() - forge.claims["iat"].as_i64().unwrap();
    assert_eq!(lasts, 120);
    let expires_at = made.json()["expiresAt"].clone();
    let expires_at: Timestamp = serde_json::from_value(expires_at).unwrap();
    assert!((now + 120..now + 125).contains(&expires_at.unix_seconds()));

    let event = last(&app, ada.tenant(), "portallink.created").await;
    assert_eq!((&event.subject, &event.actor), (&id.to_owned(), &ada.user().to_string()));
    assert_eq!(
        event.data,
        json!({
            "portalLinkId": id, "customer": "cust_1", "expiresAt": made.json()["expiresAt"],
            "permissions": ["webhooks:read", "webhooks:write"],
        })
    );
    let signature = token.rsplit('.').next().unwrap();
    assert!(!app.opened(&event).await.to_string().contains(signature));
    assert!(!dump(&app, "core.events").await.contains(signature), "it is kept nowhere");

    let seen = ask(&app, token).await;
    let may = ["events:read", "webhooks:read", "webhooks:write"];
    let expected = json!({"customer": "cust_1", "permissions": may, "principal": id});
    assert_eq!(*seen.expect(200).json(), expected);
    let plain = link(&ada.client(&app)).await;
    assert_eq!(plain.json()["url"], Value::Null);
    let all = json!(["webhooks:delete", "webhooks:read", "webhooks:write"]);
    assert_eq!(plain.json()["permissions"], all);
}

#[tokio::test]
async fn a_link_opens_what_is_declared_for_it_and_nothing_else() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = link(&ada.client(&app)).await;
    let held = app.bearer(made.text_of("token"));
    for _ in 0..2 {
        held.get(OPEN).await.expect(200);
        for path in [CLOSED, "/api/v1/auth/me", "/api/v1/users", KEYS, "/api/v1/roles"] {
            held.get(path).await.problem("core.not_for_portal", 403);
        }
        let another = held.post(LINKS, json!({"customer": "cust_2"})).await;
        another.problem("core.not_for_portal", 403);
    }
}

#[tokio::test]
async fn what_a_link_cannot_be_made_of_is_refused_with_the_fields_name() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let refused = async |change: Value, pointer: &str| {
        let mut body = json!({"customer": "cust_1"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        client.post(LINKS, body).await.invalid(pointer);
    };
    for customer in ["", " x", "x\n", &"x".repeat(65)] {
        refused(json!({"customer": customer}), "/customer").await;
    }
    refused(json!({"permissions": []}), "/permissions").await;
    for name in ["events:write", "webhooks:*", "users:read", "webhooks:read "] {
        refused(json!({"permissions": ["webhooks:read", name]}), "/permissions/1").await;
    }
    for seconds in [json!(59), json!(86_401), json!(-1), json!(0), json!("3600"), json!(90.5)] {
        refused(json!({"expiresInSeconds": seconds}), "/expiresInSeconds").await;
    }
    for page in [
        "app.example.com",
        "http://app.example.com/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://app.example.com/#here",
        "https://app.example.com/#",
        "https://user@app.example.com/",
        "https://user:word@app.example.com/",
        "https://app.example.com/a b",
        "https://app.example.com/\n",
        "https:///",
        "",
        &format!("https://app.example.com/{}", "x".repeat(2000)),
    ] {
        refused(json!({"pageUrl": page}), "/pageUrl").await;
    }
    refused(json!({"tenantId": "x"}), "/tenantId").await;
    for page in ["http://localhost:8080/hooks", "http://127.0.0.1/", "http://[::1]:3000/"] {
        client.post(LINKS, json!({"customer": "c", "pageUrl": page})).await.expect(201);
    }
    let spelled = json!({"customer": "c", "expiresInSeconds": 60.0});
    client.post(LINKS, spelled).await.expect(201);
}

#[tokio::test]
async fn nobody_gives_with_a_link_what_they_lack() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    member.post(LINKS, json!({"customer": "c"})).await.problem("core.permission_missing", 403);
    let scopes = json!(["portal-links:write", "webhooks:read"]);
    let key = bob.client(&app).post(KEYS, json!({"name": "x", "scopes": scopes})).await;
    let key = app.bearer(key.expect(201).text_of("secret"));
    let more = json!({"customer": "c", "permissions": ["webhooks:read", "webhooks:write"]});
    let refused = key.post(LINKS, more).await;
    refused.problem("identity.grants_too_much", 403);
    assert!(refused.text().contains("webhooks:write"));
    assert_eq!(link(&key).await.json()["permissions"], json!(["webhooks:read"]));
    let scopes = json!(["portal-links:write"]);
    let key = bob.client(&app).post(KEYS, json!({"name": "x", "scopes": scopes})).await;
    let key = app.bearer(key.expect(201).text_of("secret"));
    let nothing = key.post(LINKS, json!({"customer": "c"})).await;
    nothing.problem("identity.grants_too_much", 403);
}

#[tokio::test]
async fn neither_token_is_taken_for_the_other() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = link(&ada.client(&app)).await;
    let portal = Forge::of(&app, made.text_of("token")).await;
    let access = Forge::of(&app, ada.access()).await;
    let none = json!({});
    // What the forge signs holds, so that each refusal below is for its own reason.
    ask(&app, &portal.sign(&none, &none)).await.expect(200);
    ask(&app, &access.sign(&none, &none)).await.expect(200);
    let both = |one: &Value, other: &Value| {
        let mut both = one.clone();
        both.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        both
    };
    for (name, token) in [
        ("a link called an access token", portal.sign(&json!({"typ": "at+jwt"}), &none)),
        ("an access token called a link", access.sign(&json!({"typ": "portal+jwt"}), &none)),
        ("a link of a plain type", portal.sign(&json!({"typ": "JWT"}), &none)),
        ("a link of another case", portal.sign(&json!({"typ": "Portal+JWT"}), &none)),
        (
            "an access token with a link's claims, too",
            access.sign_text(
                &access.head.to_string(),
                &both(&access.claims, &json!({"sub": portal.claims["sub"]})).to_string(),
            ),
        ),
        (
            "a link with all claims of both",
            portal.sign_text(
                &json!({"typ": "at+jwt", "alg": "EdDSA", "kid": portal.head["kid"]}).to_string(),
                &both(&access.claims, &portal.claims).to_string(),
            ),
        ),
    ] {
        let answer = ask(&app, &token).await;
        assert_eq!(answer.code(), Some("identity.token_invalid"), "{name}: {answer}");
    }
    // Claims of an access token make a link no wider.
    let wider = portal.sign(&none, &both(&access.claims, &portal.claims));
    app.bearer(&wider).get("/api/v1/auth/me").await.problem("core.not_for_portal", 403);
    // And a customer's name makes no link of an access token.
    let named = access.sign(&none, &json!({"customer": "cust_1"}));
    assert_eq!(ask(&app, &named).await.expect(200).json()["customer"], Value::Null);
}

#[tokio::test]
async fn each_attack_on_a_link_is_refused() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = link(&ada.client(&app)).await;
    let token = made.text_of("token").to_owned();
    let forge = Forge::of(&app, &token).await;
    let (none, elsewhere) = (json!({}), "https://elsewhere.example");
    let (first, rest) = token.split_once('.').unwrap();
    for (name, token) in [
        ("no algorithm", forge.sealed_by(&json!({"alg": "none"}), |_| Vec::new())),
        ("no signature", forge.sealed_by(&none, |_| Vec::new())),
        ("another signature", forge.sealed_by(&none, |_| vec![7; 64])),
        ("foreign audience", forge.sign(&none, &json!({"aud": elsewhere}))),
        ("audience of access tokens", forge.sign(&none, &json!({"aud": forge.claims["iss"]}))),
        ("no audience", forge.sign(&none, &json!({"aud": null}))),
        ("foreign issuer", forge.sign(&none, &json!({"iss": elsewhere}))),
        ("unknown kid", forge.sign(&json!({"kid": "sgn_01jz8q6k3mf1g8tvkh4z6c9x2b"}), &none)),
        ("no kid", forge.sign(&json!({"kid": null}), &none)),
        ("jku", forge.sign(&json!({"jku": elsewhere}), &none)),
        ("crit", forge.sign(&json!({"crit": ["b64"], "b64": false}), &none)),
        ("no customer", forge.sign(&none, &json!({"customer": null}))),
        ("two customers", forge.sign(&none, &json!({"customer": ["a", "b"]}))),
        ("a person as subject", forge.sign(&none, &json!({"sub": ada.user()}))),
        ("no tenant", forge.sign(&none, &json!({"tid": null}))),
        ("made by the system", forge.sign(&none, &json!({"by": "system"}))),
        ("made by a link", forge.sign(&none, &json!({"by": made.json()["id"]}))),
        ("a part missing", rest.to_owned()),
        ("a head alone", first.to_owned()),
        ("9 KiB", forge.sign(&none, &json!({"pad": "a".repeat(9 * 1024)}))),
    ] {
        let answer = ask(&app, &token).await;
        assert_eq!(answer.code(), Some("identity.token_invalid"), "{name}: {answer}");
    }
    for place in 0..token.len() {
        let mut altered = token.as_bytes().to_vec();
        altered[place] = match altered[place] {
            b'-' | b'_' | b'.' => b'A',
            letter if (letter ^ 1).is_ascii_alphanumeric() => letter ^ 1,
            letter => letter ^ 2,
        };
        let altered = String::from_utf8(altered).unwrap();
        ask(&app, &altered).await.problem("identity.token_invalid", 401);
    }
    ask(&app, &token).await.expect(200);
}

#[tokio::test]
async fn a_link_signed_with_a_stolen_key_is_worth_no_more_than_who_it_says_made_it() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let viewer = join(&app, ada.tenant(), &bob, SystemRole::Viewer).await;
    drop(viewer);
    let forge = Forge::of(&app, link(&ada.client(&app)).await.text_of("token")).await;
    let with = |claims: Value| forge.sign(&json!({}), &claims);
    let elsewhere = ask(&app, &with(json!({"tid": bob.tenant()}))).await;
    elsewhere.problem("identity.portal_link_ended", 401);
    let wide = json!({"permissions": ["users:write", "webhooks:read"], "by": bob.user()});
    let seen = ask(&app, &with(wide)).await;
    let may = json!(["events:read", "webhooks:read"]);
    assert_eq!(seen.expect(200).json()["permissions"], may);
    let key = json!({"key": "key_01jz8q6k3mf1g8tvkh4z6c9x2b"});
    ask(&app, &with(key)).await.problem("identity.portal_link_ended", 401);
}

#[tokio::test]
async fn the_names_of_a_tenants_roles_are_not_told_to_customers() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let role = json!({"name": "Secret plans", "permissions": ["webhooks:read"]});
    ada.client(&app).post("/api/v1/roles", role).await.expect(201);
    let body = json!({"customer": "c", "permissions": ["webhooks:write"]});
    let made = ada.client(&app).post(LINKS, body).await;
    let refused = ask(&app, made.expect(201).text_of("token")).await;
    refused.problem("core.permission_missing", 403);
    assert!(!refused.text().contains("Secret plans"), "{refused}");
}
