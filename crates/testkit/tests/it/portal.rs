//! Customers of a tenant's: what routes they reach, and what PostgreSQL is told of them.

use freehold_kernel::{Cx, Json, Module, Result, Routes, SIGNED_IN, SystemRole, Tx, endpoint};
use freehold_testkit::{Client, TestApp};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

const OPEN: &str = "/api/v1/doors/open";

/// What a transaction says of itself.
#[derive(Serialize, ToSchema)]
struct Said {
    /// The customer it is confined to.
    customer: Option<String>,
}

const SETTING: &str = "select nullif(current_setting('app.customer', true), '')";

/// Ask the transaction of the request.
#[endpoint]
async fn ask(mut tx: Tx) -> Result<Json<Said>> {
    let customer = sqlx::query_scalar(SETTING).fetch_one(tx.db()).await?;
    Ok(Json(Said { customer }))
}

/// Ask a transaction that the handler opens.
#[endpoint]
async fn ask_another(cx: Cx) -> Result<Json<Said>> {
    let mut tx = cx.tx().await?;
    let customer = sqlx::query_scalar(SETTING).fetch_one(tx.db()).await?;
    tx.commit().await?;
    Ok(Json(Said { customer }))
}

fn doors() -> Module {
    Module::new("doors")
        .resource("door", "doors")
        .permission("doors:read", "See doors", &[SystemRole::Owner])
        .routes(
            Routes::at("/api/v1/doors")
                .get("/open", "doors:read", ask)
                .portal()
                .post("/open", "doors:read", ask_another)
                .portal()
                .get("/closed", "doors:read", ask)
                .get("/oneself", SIGNED_IN, ask),
        )
}

async fn told(client: &Client) -> [Value; 2] {
    let (reads, writes) = (client.get(OPEN).await, client.post(OPEN, json!({})).await);
    [&reads, &writes].map(|answer| answer.expect(200).json()["customer"].clone())
}

#[tokio::test]
async fn a_transaction_knows_its_customer_letter_by_letter_and_the_next_one_does_not() {
    // One connection, so that whatever is left behind on it is found.
    let app = TestApp::with([doors()]).config(|config| config.pool_size = 1).start().await;
    let tenant = app.tenant("Acme").await;
    let owner = app.principal(&tenant).everything();
    assert_eq!(told(&owner).await, [Value::Null, Value::Null]);
    for name in [
        "ada",
        "o'brien",
        r"back\slash",
        r"'; set local app.tenant_id = '00000000-0000-0000-0000-000000000000",
        r"\U00000041 \x41 \n E'",
        "日本語 \u{1F600}",
        &"ж".repeat(64),
    ] {
        let customer = app.principal(&tenant).customer(name).everything();
        assert_eq!(told(&customer).await, [json!(name), json!(name)]);
        assert_eq!(told(&owner).await, [Value::Null, Value::Null], "after {name}");
    }
}

#[tokio::test]
async fn a_route_is_closed_to_customers_unless_it_says_otherwise_whatever_they_may_do() {
    let app = TestApp::start([doors()]).await;
    let tenant = app.tenant("Acme").await;
    let customer = app.principal(&tenant).customer("ada").everything();
    customer.get(OPEN).await.expect(200);
    for path in ["/api/v1/doors/closed", "/api/v1/doors/oneself"] {
        customer.get(path).await.problem("core.not_for_portal", 403);
    }
    let powerless = app.principal(&tenant).customer("ada").with(&[]);
    powerless.get(OPEN).await.problem("core.permission_missing", 403);
    let document = app.kernel().openapi_document();
    let of = |path: &str| document["paths"][path]["get"].clone();
    assert_eq!(of(OPEN)["x-portal"], true);
    assert_eq!(of("/api/v1/doors/closed")["x-portal"], false);
}
