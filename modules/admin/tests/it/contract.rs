//! The rules of the API, asked of every route of admin.

use freehold_testkit::contract::{self, Fixtures};

use crate::rows::a_dead_job;
use crate::work::Stage;

#[tokio::test]
async fn every_route_of_admin_keeps_the_rules() {
    let stage = Stage::set().await;
    let job = a_dead_job(&stage.app, &stage.acme, "work.former", "failed", "x").await;
    let fixtures = Fixtures::of(&stage.acme).id(job).segment("queue", "standard");
    contract::check(&stage.app, &fixtures.only("admin")).await;
}
