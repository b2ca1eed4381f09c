//! A module's ordinary life: what every request of a customer relies on.

use freehold_testkit::TestApp;
use serde_json::json;

use crate::fixture;

#[tokio::test]
async fn a_thing_is_made_read_changed_and_removed_and_each_step_is_told() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();

    let made = owner.post("/api/v1/things", json!({"name": "first", "note": "mine"})).await;
    made.expect(201);
    let place = format!("/api/v1/things/{}", made.text_of("id"));
    assert_eq!(made.header("location"), place);
    let event = app.last_event(&acme).await;
    assert_eq!(event.kind, "thing.created");
    assert_eq!(event.actor, acme.owner.to_string());
    assert_eq!(event.subject, made.text_of("id"));
    assert_eq!(event.request_id.as_deref(), Some(made.header("x-request-id")));

    let read = owner.get(&place).await;
    assert_eq!(read.expect(200).json(), made.json());
    assert_eq!(read.header("etag"), "\"1\"");

    let change = owner.patch(&place, json!({"note": null})).header("if-match", "\"1\"").await;
    assert_eq!(change.expect(200).json()["note"], json!(null));
    let stale = owner.patch(&place, json!({"name": "late"})).header("if-match", "\"1\"").await;
    stale.problem("core.stale", 412);
    let personal = app.opened(&app.last_event(&acme).await).await;
    assert_eq!(personal["before"], json!({"note": "mine", "version": 1}));
    assert_eq!(personal["after"], json!({"note": null, "version": 2}));

    owner.delete(&place).await.expect(204);
    owner.get(&place).await.problem("core.not_found", 404);
    assert_eq!(app.last_event(&acme).await.kind, "thing.deleted");
    let kinds: Vec<_> = app.events(&acme).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["tenant.created", "thing.created", "thing.changed", "thing.deleted"]);
}

#[tokio::test]
async fn a_name_taken_is_a_conflict_in_one_tenant_and_free_in_another() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let body = json!({"name": "same"});
    let owner = app.principal(&acme).everything();
    owner.post("/api/v1/things", &body).await.expect(201);
    owner.post("/api/v1/things", &body).await.problem("fixture.name_taken", 409);
    assert_eq!(app.events(&acme).await.len(), 2, "the tenant was made, and one thing");
    app.principal(&other).everything().post("/api/v1/things", &body).await.expect(201);
}
