//! The platform tenant and its first operator.

use freehold_identity::{NewOperator, Settings, module};
use freehold_kernel::{Module, SystemRole};
use freehold_testkit::TestApp;
use serde_json::json;

use crate::accounts::{PASSWORD, kinds, last, login, platform, register, row_counts, start};

fn with_operator(email: &str) -> Module {
    let operator = NewOperator {
        email: email.to_owned(),
        name: "Operator".to_owned(),
        password: PASSWORD.to_owned(),
    };
    module(Settings { operator: Some(operator), ..Settings::default() })
}

#[tokio::test]
async fn the_platform_and_its_operator_are_made_once_over_two_starts() {
    let app = TestApp::start([with_operator("op@example.org")]).await;
    let before = row_counts(&app).await;
    assert_eq!((before["core.tenants"], before["core.users"]), (1, 1));
    let again = TestApp::with([with_operator("other@example.org")]).beside(&app).start().await;
    assert_eq!(row_counts(&app).await, before, "somebody is in charge already");
    let platform = platform(&app).await;
    let kinds = kinds(&app, platform).await;
    assert_eq!(kinds, ["tenant.created", "user.created", "signingkey.created"]);
    let event = last(&app, platform, "user.created").await;
    assert_eq!(event.actor, "system");
    assert!(!event.data.to_string().contains("example.org"));
    assert_eq!(app.opened(&event).await["email"], "op@example.org");

    let answer = login(&again, json!({"email": "op@example.org", "password": PASSWORD})).await;
    let json = answer.expect(200).json();
    assert_eq!(
        (&json["tenant"]["id"], &json["tenant"]["slug"]),
        (&json!(platform), &json!("platform"))
    );
    let may = app.kernel().permissions_of(&[SystemRole::Operator]);
    assert_eq!(json["permissions"], json!(may.iter().collect::<Vec<_>>()));
    let other = login(&app, json!({"email": "other@example.org", "password": PASSWORD})).await;
    other.problem("identity.invalid_credentials", 401);
}

#[tokio::test]
async fn two_nodes_that_start_at_once_make_one_operator() {
    let app = start().await;
    assert_eq!(row_counts(&app).await["core.users"], 0, "none is made unless asked for");
    let (one, two) = tokio::join!(
        TestApp::with([with_operator("op@example.org")]).beside(&app).start(),
        TestApp::with([with_operator("op@example.org")]).beside(&app).start(),
    );
    let counts = row_counts(&app).await;
    assert_eq!((counts["core.users"], counts["core.memberships"]), (1, 1));
    assert_eq!((counts["core.tenants"], counts["identity.signing_keys"]), (1, 1));
    drop((one, two));
}

#[tokio::test]
async fn an_operator_is_in_no_tenant_but_the_platform() {
    let app = TestApp::start([with_operator("op@example.org")]).await;
    let ada = register(&app, "Ada").await;
    let body = json!({"email": "op@example.org", "password": PASSWORD, "tenantId": ada.tenant()});
    login(&app, body).await.problem("core.not_found", 404);
    let operator = login(&app, json!({"email": "op@example.org", "password": PASSWORD})).await;
    let operator = app.bearer(operator.expect(200).text_of("accessToken"));
    operator.get("/api/v1/api-keys").await.problem("core.permission_missing", 403);
}

#[tokio::test]
async fn a_bad_operator_does_not_start() {
    let taken = start().await;
    register(&taken, "Ada").await;
    let refused =
        TestApp::with([with_operator("ada@example.org")]).beside(&taken).try_start().await;
    let error = refused.err().expect("a person of that address is no operator").to_string();
    assert!(error.contains("registered with this e-mail"), "{error}");
    assert!(!error.contains(PASSWORD));
}
