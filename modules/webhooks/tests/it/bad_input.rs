//! What a webhook or an event may not be: refused with the field's name, and nothing is changed.

use freehold_egress::Policy;
use freehold_testkit::{Tenant, TestApp};
use serde_json::json;

use crate::world::{app, app_with};

/// Ways to write an address inside: this machine, a private network, the cloud's metadata.
const INSIDE: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0x7f.0.0.1",
    "0x7f000001",
    "%31%32%37.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "0.0.0.0",
    "0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::7f00:1]",
    "[fe80::1]",
    "[fd00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "hooks.localhost",
    "intranet",
    "db.internal",
    "metadata.google.internal",
    "printer.local",
];

/// Not a URL that every program reads in the same way, or one with more than a URL should have.
const MISSHAPEN: &[&str] = &[
    "",
    " ",
    "not a url",
    "example.org",
    "//example.org/hook",
    "https://",
    "https:///hook",
    "https://exa mple.org/",
    "https://example..org/",
    "https://-.example.org:443:443/",
    "https://[::1",
    "https://example.org:0/",
    "https://example.org:65536/",
    "https://example.org:22/",
    "https://example.org\\@10.0.0.1/",
    "https://ada@example.org/",
    "https://ada:secret@example.org/",
    "https://example.org@10.0.0.1/",
    "https://example.org/#fragment",
    "https://example.org/#",
    "http://example.org/hook",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript:alert(1)",
    "data:text/plain,hook",
    "https://example.org/\r\nx-injected: yes",
    "https://example.org/\nhost: 10.0.0.1",
    "https://example.org/ HTTP/1.1\r\nx-injected: yes\r\n\r\n",
    "\thttps://example.org/",
    "https://example.org/hook ",
    "https://exam\u{7f}ple.org/",
    "https://example.org/\u{1b}[2J",
];

fn bad_urls() -> Vec<String> {
    let inside = INSIDE.iter().flat_map(|host| {
        [format!("https://{host}/"), format!("http://{host}:8080/latest/meta-data/")]
    });
    let long = format!("https://example.org/{}", "x".repeat(2048));
    // Each of these becomes nine characters when it is escaped.
    let long_when_escaped = format!("https://example.org/{}", "\u{20ac}".repeat(300));
    let label = format!("https://{}.example.org/", "x".repeat(64));
    let misshapen = MISSHAPEN.iter().copied().map(str::to_owned);
    inside.chain(misshapen).chain([long, long_when_escaped, label]).collect()
}

#[tokio::test]
async fn no_webhook_is_made_with_a_url_that_leads_inside_or_is_none() {
    let app = app_with(Default::default(), Policy::default()).await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for url in bad_urls() {
        let body = json!({"url": url, "events": ["*"]});
        is_refused(&client.post("/api/v1/webhooks", body).await, "/url", &url);
    }
    for url in [json!(null), json!(5), json!(["https://example.org/"]), json!({})] {
        let body = json!({"url": url, "events": ["*"]});
        is_refused(&client.post("/api/v1/webhooks", body).await, "/url", &url);
    }
    assert_eq!(client.get("/api/v1/webhooks").await.json()["data"], json!([]));
    assert_eq!(kinds(&app, &tenant).await, ["tenant.created"]);
}

#[tokio::test]
async fn no_webhook_is_turned_to_a_url_that_leads_inside_or_is_none() {
    let app = app_with(Default::default(), Policy::default()).await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let good = json!({"url": "https://example.org/hook", "events": ["nothing.at_all"]});
    let made = client.post("/api/v1/webhooks", good).await;
    let path = format!("/api/v1/webhooks/{}", made.expect(201).text_of("id"));
    let before = client.get(&path).await;
    for url in bad_urls() {
        let patch = json!({"url": url, "description": "changed"});
        is_refused(&client.patch(&path, patch).await, "/url", &url);
    }
    let after = client.get(&path).await;
    assert_eq!(after.json(), before.json());
    assert_eq!(after.header("etag"), "\"1\"");
    assert_eq!(kinds(&app, &tenant).await, ["tenant.created", "webhook.created"]);
}

#[tokio::test]
async fn where_this_machine_is_allowed_the_rest_of_the_inside_is_not() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for host in [
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "2852039166",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
    ] {
        let body = json!({"url": format!("http://{host}/"), "events": ["*"]});
        is_refused(&client.post("/api/v1/webhooks", body).await, "/url", &host);
    }
    let body = json!({"url": "http://127.0.0.1:8080/", "events": ["*"]});
    client.post("/api/v1/webhooks", body).await.expect(201);
}

#[tokio::test]
async fn an_event_that_is_none_is_refused_and_not_kept() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for data in [json!(null), json!([]), json!([{}]), json!("text"), json!(1), json!(true)] {
        let event = json!({"type": "order.paid", "id": "order-1", "data": data});
        is_refused(&client.post("/api/v1/events", event).await, "/data", &data);
    }
    for (event, pointer) in [
        (json!({}), "/type"),
        (json!({"type": "order.paid"}), "/data"),
        (json!({"data": {}}), "/type"),
        (json!({"type": 5, "data": {}}), "/type"),
        (json!({"type": "order.paid", "data": {}, "id": 5}), "/id"),
        (json!({"type": "order.paid", "data": {}, "id": ""}), "/id"),
        (json!({"type": "order.paid", "data": {}, "id": "x".repeat(65)}), "/id"),
        (json!({"type": "order.paid", "data": {}, "tenantId": "ten_1"}), "/tenantId"),
        (json!({"type": "order.paid", "data": {}, "source": "freehold"}), "/source"),
        (json!({"type": "x.".repeat(64) + "x", "data": {}}), "/type"),
    ] {
        is_refused(&client.post("/api/v1/events", &event).await, pointer, &event);
    }
    assert_eq!(kinds(&app, &tenant).await, ["tenant.created"]);
    assert_eq!(kept_ids(&app).await, 0);
}

#[tokio::test]
async fn an_event_type_that_would_break_out_of_a_header_or_a_pattern_is_refused() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for name in [
        "order.paid\r\nx-injected: yes",
        "order.paid\n",
        "\torder.paid",
        "order.paid ",
        "order.*",
        "*",
        "order.paid,*",
        "order.pa\u{7f}id",
        "ordér.paid",
        "order..paid",
        ".order.paid",
        "webhook.tested",
    ] {
        let event = json!({"type": name, "data": {}, "id": "order-1"});
        is_refused(&client.post("/api/v1/events", event).await, "/type", &name);
    }
    assert_eq!(kinds(&app, &tenant).await, ["tenant.created"]);
    assert_eq!(kept_ids(&app).await, 0);
}

#[tokio::test]
async fn an_event_may_hold_256_kib_and_no_byte_more() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    // What `{"t":""}` takes.
    let room = 256 * 1024 - 8;
    let event = |length| json!({"type": "order.paid", "data": {"t": "x".repeat(length)}});
    let refused = client.post("/api/v1/events", event(room + 1)).await;
    refused.problem("webhooks.event_too_large", 422);
    // Half the characters, each of two bytes.
    let wide = json!({"type": "order.paid", "data": {"t": "é".repeat(room / 2 + 1)}});
    client.post("/api/v1/events", wide).await.problem("webhooks.event_too_large", 422);
    assert_eq!(kinds(&app, &tenant).await, ["tenant.created"]);
    client.post("/api/v1/events", event(room)).await.expect(202);
}

#[tokio::test]
async fn u_0000_is_refused_wherever_it_stands() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for event in [
        json!({"type": "order.paid", "data": {"text": "a\0b"}}),
        json!({"type": "order.paid", "data": {"a\0b": 1}}),
        json!({"type": "order.paid", "data": {}, "id": "a\0b"}),
        json!({"type": "order.paid\0", "data": {}}),
    ] {
        client.post("/api/v1/events", event).await.problem("core.invalid", 422);
    }
    let webhook = json!({"url": "https://example.org/\0", "events": ["*"]});
    client.post("/api/v1/webhooks", webhook).await.problem("core.invalid", 422);
    assert_eq!(kinds(&app, &tenant).await, ["tenant.created"]);
}

/// The answer is a 422 that names the field.
#[track_caller]
fn is_refused(answer: &freehold_testkit::Answer, pointer: &str, input: &impl std::fmt::Debug) {
    let named = answer.pointers().any(|named| named == pointer);
    assert!(answer.status() == 422 && named, "{input:?} at {pointer}: {answer}");
}

/// What happened in the tenant.
async fn kinds(app: &TestApp, tenant: &Tenant) -> Vec<String> {
    app.events(tenant).await.into_iter().map(|event| event.kind).collect()
}

/// How many ids of the customers' own are remembered.
async fn kept_ids(app: &TestApp) -> i64 {
    let count = sqlx::query_scalar("select count(*) from webhooks.event_keys");
    count.fetch_one(app.sql()).await.unwrap()
}
