//! The rules of the API, asked of every route.

use freehold_testkit::contract::{self, Fixtures};

use crate::life::{app, live};

#[tokio::test]
async fn every_route_keeps_the_rules_of_the_api() {
    let app = app().await;
    let life = live(&app, "Acme").await;
    let fixtures = Fixtures::of(&life.tenant)
        .id(&life.api_key)
        .id(&life.service_account)
        .id(&life.session)
        .id(&life.role)
        .id(&life.webhook)
        .id(&life.delivery)
        .segment("slug", &life.tenant.slug);
    contract::check(&app, &fixtures).await;
}
