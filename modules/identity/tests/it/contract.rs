//! The rules of the API, asked of every route of identity.

use freehold_kernel::{PortalLinkId, SystemRole};
use freehold_testkit::contract::{self, Fixtures};
use serde_json::json;

use crate::accounts::{register, start};

#[tokio::test]
async fn every_route_of_identity_keeps_the_rules() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).everything();
    let account = json!({"name": "import", "roleIds": [SystemRole::Viewer.id()]});
    let account = client.post("/api/v1/service-accounts", account).await;
    let role = client.post("/api/v1/roles", json!({"name": "Support", "permissions": []})).await;
    let key = client.post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    let sessions = register(&app, "Ada").await.client(&app).get("/api/v1/auth/sessions").await;
    let fixtures = Fixtures::of(&acme)
        .id(account.expect(201).text_of("id"))
        .id(role.expect(201).text_of("id"))
        .id(key.expect(201).text_of("id"))
        // None can be made where there are no webhooks.
        .id(PortalLinkId::new().to_string())
        .id(sessions.json()["data"][0]["id"].as_str().unwrap());
    contract::check(&app, &fixtures).await;
}
