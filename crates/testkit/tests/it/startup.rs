//! Applications that must not start, and that they say why.

use freehold_kernel::{Module, StartError, SystemRole};
use freehold_testkit::TestApp;

use crate::fixture;

async fn refusal(app: freehold_testkit::TestAppBuilder) -> String {
    match app.try_start().await {
        Ok(_) => panic!("this application must not start"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_login_that_row_level_security_does_not_hold_is_refused() {
    let superuser = |url: &str| url.replace("//freehold_app@", "//postgres@");
    let app = TestApp::with([fixture::module()])
        .config(move |config| config.database_url = superuser(&config.database_url));
    let said = refusal(app).await;
    assert!(said.contains("DATABASE_URL logs in as postgres, which is a superuser"), "{said}");
    assert!(said.contains("Log in as freehold_app"), "{said}");

    let app = TestApp::with([fixture::module()]).config(|config| {
        let url = &config.database_system_url;
        config.database_system_url = url.replace("//freehold_system@", "//postgres@");
    });
    let said = refusal(app).await;
    assert!(said.contains("DATABASE_SYSTEM_URL logs in as postgres"), "{said}");
}

#[tokio::test]
async fn a_schema_on_which_isolation_would_not_hold_is_refused() {
    let first = TestApp::start([fixture::module()]).await;
    sqlx::raw_sql("alter table fixture.things no force row level security")
        .execute(first.sql())
        .await
        .unwrap();
    let second = TestApp::with([fixture::module()]).beside(&first);
    let error = second.try_start().await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Unsafe(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("not enabled and forced on fixture.things; call core.tenant_table"));
}

#[tokio::test]
async fn modules_that_do_not_fit_together_are_refused_with_every_reason() {
    let rival = Module::new("rival").resource("thing", "things").permission(
        "others:read",
        "See others",
        &[SystemRole::Owner],
    );
    let said = refusal(TestApp::with([fixture::module(), rival])).await;
    assert!(said.contains("resource things is declared twice"), "{said}");
    assert!(said.contains("module rival does not own the word others"), "{said}");
}
