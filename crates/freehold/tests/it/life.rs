//! A tenant's life through the API: enough of it to fill every tenant table.

use std::time::{Duration, Instant};

use freehold_egress::{Egress, Options, Policy};
use freehold_testkit::{Answer, Client, Tenant, TestApp};
use serde_json::json;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// What a tenant that has lived for a while has.
pub(crate) struct Life {
    /// The tenant and its owner.
    pub(crate) tenant: Tenant,
    /// The owner, signed in.
    pub(crate) owner: Client,
    /// An API key of the owner's.
    pub(crate) api_key: String,
    /// A service account.
    pub(crate) service_account: String,
    /// The owner's session.
    pub(crate) session: String,
    /// A role of the tenant's own.
    pub(crate) role: String,
    /// A webhook, at a receiver that answers.
    pub(crate) webhook: String,
    /// A delivery that arrived there.
    pub(crate) delivery: String,
}

/// The application with every module.
pub(crate) async fn app() -> TestApp {
    TestApp::start(modules()).await
}

/// Every module.
pub(crate) fn modules() -> Vec<freehold_kernel::Module> {
    freehold::modules(freehold_identity::Settings::default(), egress())
}

/// What `freehold up` allows: receivers on this machine, over plain HTTP.
pub(crate) fn egress() -> Egress {
    Egress::new(Options { policy: Policy::development(), ..Options::default() }).unwrap()
}

/// Registers, signs in, and uses everything once.
pub(crate) async fn live(app: &TestApp, name: &str) -> Life {
    let registered = register(app, name).await;
    let owner = app.bearer(registered.text_of("accessToken"));
    let tenant = Tenant {
        id: registered.json()["tenant"]["id"].as_str().unwrap().parse().unwrap(),
        slug: registered.json()["tenant"]["slug"].as_str().unwrap().to_owned(),
        owner: registered.json()["user"]["id"].as_str().unwrap().parse().unwrap(),
    };
    let accounts = owner.get("/api/v1/roles").await;
    let viewer = accounts.expect(200).json()["data"].as_array().unwrap().iter();
    let viewer = viewer.clone().find(|role| role["name"] == "Viewer").unwrap()["id"].clone();
    let account = owner
        .post("/api/v1/service-accounts", json!({"name": "import", "roleIds": [viewer]}))
        .header("idempotency-key", "the only import")
        .await;
    account.expect(201);
    let role = owner.post("/api/v1/roles", json!({"name": "Support", "permissions": []})).await;
    role.expect(201);
    let key = owner.post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    key.expect(201);
    let sessions = owner.get("/api/v1/auth/sessions").await;
    let (webhook, delivery) = receive(&owner).await;
    wind_a_clock(app, &tenant).await;
    lose_a_month(app, &tenant).await;
    Life {
        webhook,
        delivery,
        tenant,
        owner,
        api_key: key.text_of("id").to_owned(),
        service_account: account.text_of("id").to_owned(),
        session: sessions.json()["data"][0]["id"].as_str().unwrap().to_owned(),
        role: role.text_of("id").to_owned(),
    }
}

/// A new person with a tenant of this name.
pub(crate) async fn register(app: &TestApp, name: &str) -> Answer {
    let email = format!("{}@example.org", name.to_lowercase());
    let body = json!({
        "email": email, "password": "tarn-Kelp7-obverse", "name": format!("Owner of {name}"),
        "tenantName": name,
    });
    let answer = app.anonymous().post("/api/v1/auth/register", body).await;
    answer.expect(201);
    answer
}

/// A webhook that has got an event of the tenant's own product.
async fn receive(owner: &Client) -> (String, String) {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let body = json!({"url": server.uri(), "events": ["order.*"]});
    let webhook = owner.post("/api/v1/webhooks", body).await;
    let webhook = webhook.expect(201).text_of("id").to_owned();
    let event = json!({"type": "order.paid", "id": "order-1", "data": {"total": 7}});
    owner.post("/api/v1/events", event).await.expect(202);
    let log = format!("/api/v1/webhooks/{webhook}/deliveries?status=delivered");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page = owner.get(&log).await;
        if let Some(id) = page.expect(200).json()["data"][0]["id"].as_str() {
            return (webhook, id.to_owned());
        }
        assert!(Instant::now() < deadline, "the event does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Only sandboxes have clocks, and whoever registers gets a live tenant; the table must have rows all
/// the same.
async fn wind_a_clock(app: &TestApp, tenant: &Tenant) {
    sqlx::query(
        "insert into core.tenant_clocks (tenant_id, stands_at, set_at, frozen)
         values ($1, now(), now(), false)",
    )
    .bind(*tenant.id)
    .execute(app.sql())
    .await
    .unwrap();
}

/// Months of events are dropped after years; the table must have rows all the same.
async fn lose_a_month(app: &TestApp, tenant: &Tenant) {
    sqlx::query(
        "insert into core.event_gaps (tenant_id, from_at, until_at, events, digest)
         values ($1, '2015-01-01', '2015-02-01', 1, sha256(''))",
    )
    .bind(*tenant.id)
    .execute(app.sql())
    .await
    .unwrap();
}
