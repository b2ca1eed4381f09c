//! What Freehold is for: from a tenant's product to the tenant's receivers, signed, logged and
//! audited, and not a trace of it in another tenant. Against the real binary and the receivers of
//! docs/webhooks.md.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::process::{Freehold, Start, folder};
use crate::receivers::{Language, Receiver, page};

const BROWSER: &str = "Freehold journey/1";

/// Somebody with a credential.
#[derive(Clone)]
struct Caller {
    http: Client,
    url: String,
    credential: String,
    /// What came with it, as the API told it.
    told: Value,
}

/// An endpoint of Ada's and what listens there.
struct Hook {
    id: String,
    receiver: Receiver,
}

#[tokio::test]
async fn an_event_reaches_its_own_receivers_verified_and_logged_and_no_other_tenant() {
    let folder = folder();
    let freehold = start(&folder.path().join("data"));
    let ada = register(&freehold, "Ada").await;
    let charles = register(&freehold, "Charles").await;
    let overhearing = MockServer::start().await;
    let mock = Mock::given(method("POST")).respond_with(ResponseTemplate::new(200));
    mock.mount(&overhearing).await;
    let everything = json!({"url": overhearing.uri(), "events": ["*"]});
    let own_hook = charles.post("/webhooks", everything, 201).await;

    let mut hooks = Vec::new();
    for language in [Language::Node, Language::Python, Language::Rust] {
        hooks.push(hook(&ada, language, "hmac-sha256").await);
    }
    let scopes = json!({"name": "shop", "scopes": ["events:write"]});
    let key = ada.post("/api-keys", scopes, 201).await;
    let shop = Caller { credential: text(&key, "secret"), ..ada.clone() };
    let data = json!({"orderId": "A-1001", "total": 1200});
    let paid = shop.post("/events", json!({"type": "order.paid", "data": data}), 202).await;
    ada.send(Method::PATCH, "/auth/me", Some(json!({"name": "Ada King"})), 200).await;
    let updated = ada.audit("user.updated", &ada.user()).await;

    for hook in &hooks {
        let expected = json!({"id": paid["id"], "type": "order.paid", "data": data});
        assert_eq!(hook.receiver.event(&text(&paid, "id")).await, expected);
        let data = json!({"userId": ada.user()});
        let expected = json!({"id": updated["id"], "type": "user.updated", "data": data});
        assert_eq!(hook.receiver.event(&text(&updated, "id")).await, expected);
        logged_as_delivered(&ada, hook, [&paid, &updated]).await;
    }
    ada.audit("apikey.created", &text(&key, "id")).await;
    for hook in &hooks {
        ada.audit("webhook.created", &hook.id).await;
    }
    nothing_shows(&charles, &ada, &hooks, &key, &own_hook).await;
    nothing_was_overheard(&charles, &own_hook, &overhearing, &ada).await;
    for hook in &hooks {
        refused_when_tampered_with(&ada, &shop, hook).await;
    }
}

#[tokio::test]
async fn an_event_signed_with_a_key_pair_is_verified_as_the_page_says_and_refused_when_changed() {
    let folder = folder();
    let freehold = start(&folder.path().join("data"));
    let ada = register(&freehold, "Ada").await;
    for language in [Language::Node, Language::Python] {
        let hook = hook(&ada, language, "ed25519").await;
        let data = json!({"orderId": "A-1001", "total": 1200, "name": "Zoë"});
        let paid = ada.post("/events", json!({"type": "order.paid", "data": data}), 202).await;
        let expected = json!({"id": paid["id"], "type": "order.paid", "data": data});
        assert_eq!(hook.receiver.event(&text(&paid, "id")).await, expected, "{language:?}");
        let delivery = ada.delivery(&hook, &paid, "delivered").await;
        assert_eq!((&delivery["statusCode"], &delivery["attempts"]), (&json!(204), &json!(1)));
        refused_when_tampered_with(&ada, &ada, &hook).await;
    }
}

#[tokio::test]
async fn every_command_of_the_page_is_answered_well() {
    let folder = folder();
    let freehold = start(&folder.path().join("data"));
    let ada = register(&freehold, "Ada").await;
    let commands: Vec<String> = page()
        .split("\n```bash\n")
        .skip(1)
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .map(|block| block.replace("http://localhost:3000/api/v1", &ada.url))
        .collect();
    assert!(commands.len() >= 8, "the page has {} commands", commands.len());
    let strict = "set -euo pipefail\ncurl() { command curl --fail-with-body \"$@\"; }\n";
    let ran = Command::new("bash")
        .args(["-c", &format!("{strict}{}", commands.join("\n"))])
        .env("TOKEN", &ada.credential)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    for wanted in
        ["WEBHOOK_SECRET=whsec_", r#""name":"user.updated""#, r#""tries":["#, r#"{"id":"evt_"#]
    {
        assert!(printed.contains(wanted), "{wanted} is not in {printed}");
    }
}

fn start(data: &Path) -> Freehold {
    Start { arguments: &["--no-demo"], ..Start::in_folder(data) }.run()
}

async fn register(freehold: &Freehold, name: &str) -> Caller {
    let http = Client::builder().no_proxy().tls_certs_only([]).user_agent(BROWSER).build().unwrap();
    let url = format!("{}/api/v1", freehold.url);
    let anonymous = Caller { http, url, credential: String::new(), told: Value::Null };
    let body = json!({
        "email": format!("{name}@example.org"), "password": "tarn-Kelp7-obverse", "name": name,
        "tenantName": format!("Works of {name}"),
    });
    let told = anonymous.post("/auth/register", body, 201).await;
    Caller { credential: text(&told, "accessToken"), told, ..anonymous }
}

/// Registered while it is off: the receiver needs the secret to start, Freehold its port.
async fn hook(ada: &Caller, language: Language, signing: &str) -> Hook {
    let new = json!({
        "url": "http://127.0.0.1:8080/", "events": ["order.*", "user.updated"], "isActive": false,
        "signing": signing,
    });
    let made = ada.post("/webhooks", new, 201).await;
    let id = text(&made, "id");
    let key = if signing == "ed25519" { "publicKey" } else { "secret" };
    let receiver = Receiver::start(language, &text(&made, key));
    let on = json!({"url": receiver.url, "isActive": true});
    let changed = ada.send(Method::PATCH, &format!("/webhooks/{id}"), Some(on), 200).await;
    assert_eq!(changed.get("secret"), None, "it is shown once");
    Hook { id, receiver }
}

async fn logged_as_delivered(ada: &Caller, hook: &Hook, events: [&Value; 2]) {
    for event in events {
        let delivery = ada.delivery(hook, event, "delivered").await;
        assert_eq!(delivery["statusCode"], 204);
        assert_eq!(delivery["attempts"], 1);
        assert_eq!((&delivery["error"], &delivery["nextAttemptAt"]), (&Value::Null, &Value::Null));
        let (created, delivered) = (text(&delivery, "createdAt"), text(&delivery, "deliveredAt"));
        assert!(created <= delivered && created.starts_with("20"), "{created}, {delivered}");
        let path = format!("/webhooks/{}/deliveries/{}", hook.id, text(&delivery, "id"));
        let tries = ada.get(&path).await["tries"].clone();
        assert_eq!(tries.as_array().unwrap().len(), 1, "{tries}");
        assert_eq!((&tries[0]["number"], &tries[0]["statusCode"]), (&json!(1), &json!(204)));
        assert!(tries[0]["durationMs"].is_u64() && tries[0]["at"].is_string(), "{tries}");
    }
    let log = ada.get(&format!("/webhooks/{}/deliveries", hook.id)).await;
    assert_eq!(log["data"].as_array().unwrap().len(), 2, "and nothing else was sent: {log}");
}

/// Lists hold none of it, and its ids lead nowhere.
async fn nothing_shows(charles: &Caller, ada: &Caller, hooks: &[Hook], key: &Value, own: &Value) {
    let webhooks = charles.get("/webhooks").await;
    assert_eq!(webhooks["data"].as_array().unwrap().len(), 1, "his own alone: {webhooks}");
    assert_eq!(webhooks["data"][0]["id"], own["id"]);
    assert_eq!(charles.get("/api-keys").await["data"], json!([]));
    charles.send(Method::DELETE, &format!("/api-keys/{}", text(key, "id")), None, 404).await;
    for hook in hooks {
        let log = ada.get(&format!("/webhooks/{}/deliveries", hook.id)).await;
        let delivery = text(&log["data"][0], "id");
        for webhook in [&hook.id, &text(own, "id")] {
            let path = format!("/webhooks/{webhook}/deliveries/{delivery}");
            charles.send(Method::GET, &path, None, 404).await;
            charles.send(Method::POST, &format!("{path}/retry"), None, 404).await;
        }
        for (method, rest) in [
            (Method::GET, ""),
            (Method::GET, "/deliveries"),
            (Method::POST, "/test"),
            (Method::POST, "/enable"),
            (Method::DELETE, ""),
        ] {
            charles.send(method, &format!("/webhooks/{}{rest}", hook.id), None, 404).await;
        }
        let off = Some(json!({"isActive": false}));
        charles.send(Method::PATCH, &format!("/webhooks/{}", hook.id), off, 404).await;
    }
    let log = charles.get("/audit-logs?limit=200").await.to_string();
    assert!(log.contains(&charles.user()), "he sees what he did himself");
    let hers = [ada.user(), ada.tenant(), text(key, "id")].into_iter();
    for id in hers.chain(hooks.iter().map(|hook| hook.id.clone())) {
        assert!(!log.contains(&id), "{id} is in {log}");
    }
}

/// When an event of his own has come to the endpoint that wants everything, hers would have too.
async fn nothing_was_overheard(charles: &Caller, own: &Value, heard: &MockServer, ada: &Caller) {
    let event = json!({"type": "engine.turned", "data": {"turns": 3}});
    let turned = text(&charles.post("/events", event, 202).await, "id");
    let deadline = Instant::now() + Duration::from_secs(10);
    let requests = loop {
        let requests = heard.received_requests().await.unwrap();
        if requests.iter().any(|request| request.headers["webhook-id"] == *turned) {
            break requests;
        }
        assert!(Instant::now() < deadline, "his own event does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let log = charles.get(&format!("/webhooks/{}/deliveries?limit=200", text(own, "id"))).await;
    for request in requests {
        let id = request.headers["webhook-id"].to_str().unwrap();
        assert!(log.to_string().contains(id), "{id} is not an event of his");
        let body = String::from_utf8(request.body).unwrap();
        for hers in [ada.user(), ada.tenant(), "A-1001".to_owned()] {
            assert!(!body.contains(&hers), "{body}");
        }
    }
}

/// Somebody in between changes the amount; the receiver refuses, and the log says so.
async fn refused_when_tampered_with(ada: &Caller, shop: &Caller, hook: &Hook) {
    let before = hook.receiver.printed();
    let between = between(hook.receiver.url.clone()).await;
    let path = format!("/webhooks/{}", hook.id);
    ada.send(Method::PATCH, &path, Some(json!({"url": between})), 200).await;
    let event = json!({"type": "order.refunded", "data": {"orderId": "A-1001", "total": 1200}});
    let event = shop.post("/events", event, 202).await;
    let delivery = ada.delivery(hook, &event, "pending").await;
    assert_eq!((&delivery["statusCode"], &delivery["attempts"]), (&json!(400), &json!(1)));
    assert!(text(&delivery, "error").contains("400"), "{delivery}");
    assert!(text(&delivery, "nextAttemptAt") > text(&delivery, "createdAt"), "{delivery}");
    assert_eq!(hook.receiver.printed(), before, "it printed none of it");
    ada.send(Method::PATCH, &path, Some(json!({"isActive": false})), 200).await;
}

/// Passes requests on with another amount in them; answers what the receiver answers.
async fn between(receiver: String) -> String {
    let app = axum::Router::new().fallback(change_amount).with_state(receiver);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    url
}

async fn change_amount(
    State(receiver): State<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let changed = String::from_utf8(body.to_vec()).unwrap().replace("1200", "9200");
    assert_ne!(changed.as_bytes(), body);
    let http = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut request = http.post(receiver).body(changed);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        request = request.header(name, &headers[name]);
    }
    request.send().await.unwrap().status()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

impl Caller {
    async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, None, 200).await
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.send(Method::POST, path, Some(body), status).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method.clone(), url).bearer_auth(&self.credential);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (got, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(got, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The delivery of this event to this endpoint, once it was tried and is in this state.
    async fn delivery(&self, hook: &Hook, event: &Value, status: &str) -> Value {
        let path = format!("/webhooks/{}/deliveries?status={status}", hook.id);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.get(&path).await;
            let found = log["data"].as_array().unwrap().iter();
            let mut found = found.filter(|row| row["eventId"] == event["id"]);
            if let Some(delivery) = found.find(|row| row["attempts"] != 0) {
                return delivery.clone();
            }
            assert!(Instant::now() < deadline, "{event} is not {status} in {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The one record of this, which says who did it and from where.
    async fn audit(&self, action: &str, subject: &str) -> Value {
        let log = self.get(&format!("/audit-logs?action={action}&subject={subject}")).await;
        let records = log["data"].as_array().unwrap();
        assert_eq!(records.len(), 1, "{action} of {subject}: {log}");
        let record = &records[0];
        assert_eq!(record["actor"], self.user(), "who");
        assert_eq!(record["personal"]["ip"], "127.0.0.1", "from where");
        assert_eq!(record["personal"]["userAgent"], BROWSER, "with what");
        record.clone()
    }

    fn user(&self) -> String {
        text(&self.told["user"], "id")
    }

    fn tenant(&self) -> String {
        text(&self.told["tenant"], "id")
    }
}
