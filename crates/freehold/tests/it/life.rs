//! A tenant's life through the API: enough of it to fill every tenant table.

use freehold_testkit::{Answer, Client, Tenant, TestApp};
use serde_json::json;

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
}

/// The application with every module.
pub(crate) async fn app() -> TestApp {
    TestApp::start(freehold::modules(freehold_identity::Settings::default())).await
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
    let key = owner.post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    key.expect(201);
    Life {
        tenant,
        owner,
        api_key: key.text_of("id").to_owned(),
        service_account: account.text_of("id").to_owned(),
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
