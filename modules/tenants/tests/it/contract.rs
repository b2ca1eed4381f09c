//! The rules of the API, asked of every route of tenants.

use freehold_testkit::contract::{self, Fixtures};

use crate::rows::start;

#[tokio::test]
async fn every_route_of_tenants_keeps_the_rules() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let fixtures = Fixtures::of(&acme).segment("slug", &acme.slug);
    contract::check(&app, &fixtures).await;
}
