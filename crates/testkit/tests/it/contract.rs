//! The rules of the API, asked of a module that keeps them, and of one that does not.

use freehold_kernel::Id;
use freehold_testkit::TestApp;
use freehold_testkit::contract::{self, Fixtures};
use serde_json::json;

use crate::{fixture, rough};

#[tokio::test]
async fn every_route_of_the_fixture_keeps_the_rules() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let made = owner.post("/api/v1/things", json!({"name": "a"})).await;
    contract::check(&app, &Fixtures::of(&acme).id(made.text_of("id"))).await;
}

#[tokio::test]
async fn a_module_that_breaks_the_rules_is_told_each_of_them() {
    let app = TestApp::start([rough::module()]).await;
    let acme = app.tenant("Acme").await;
    let fixtures = Fixtures::of(&acme).id(Id::<rough::Stone>::new());
    let findings = contract::findings(&app, &fixtures).await;
    for words in [
        "POST /api/v1/stones: an unknown field after 7.0 in the field weight must be answered 422",
        "POST /api/v1/stones: a field that the schema does not have must be answered 422",
        "POST /api/v1/stones refuses with rough.too_heavy, which its x-error-codes do not name: \
         add it to the handler's #[endpoint(\"rough.too_heavy\")]",
        "POST /api/v1/stones: \"text\" in the field weight must be answered 422 /weight, not",
        "POST /api/v1/stones: a refused request changed core.claims",
        "PUT /api/v1/stones/{id}: an id that is none must be answered 404 core.not_found, not",
    ] {
        assert!(
            findings.iter().any(|finding| finding.contains(words)),
            "nothing says {words:?}; this is all there is:\n{}",
            findings.join("\n")
        );
    }
}

#[tokio::test]
async fn a_kind_of_id_without_a_fixture_is_asked_for() {
    let app = TestApp::start([rough::module()]).await;
    let acme = app.tenant("Acme").await;
    let findings = contract::findings(&app, &Fixtures::of(&acme)).await;
    assert!(
        findings.iter().any(|finding| finding
            == "DELETE /api/v1/stones/{id}: nothing is known of the kind stn; make one in the \
                test's fixtures and give it to Fixtures::id (or Fixtures::segment)"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_failure_of_the_server_panics_unless_the_test_is_about_it() {
    let app = TestApp::start([rough::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let path = format!("/api/v1/stones/{}", Id::<rough::Stone>::new());
    owner.delete(&path).expecting_failure().await.expect(500);
    let panic = tokio::spawn(owner.delete(&path).into_future()).await.unwrap_err().into_panic();
    let said = panic.downcast::<String>().unwrap();
    assert!(said.contains(&format!("DELETE {path} failed with 500")), "{said}");
    assert!(said.contains("core.internal"), "the body is shown: {said}");
}
