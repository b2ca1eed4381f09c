//! The rules of the API, asked of a module that keeps them, and of one that does not.

use freehold_testkit::contract::{self, Fixtures};
use freehold_testkit::TestApp;
use serde_json::json;

use crate::fixture;

#[tokio::test]
async fn every_route_of_the_fixture_keeps_the_rules() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let made = app.principal(&acme).everything().post("/api/v1/things", json!({"name": "a"})).await;
    contract::check(&app, &Fixtures::of(&acme).id(made.text_of("id"))).await;
}
