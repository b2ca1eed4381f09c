//! Operators and tenants, over all modules and two nodes: what an operator decides holds within a
//! second everywhere, and the tenant can read who decided it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freehold::ModuleSettings;
use freehold_identity::{NewOperator, Settings};
use freehold_kernel::{SystemRole, directory};
use freehold_testkit::{Answer, Client, Tenant, TestApp};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::life::{egress, live, register};

const TENANT: &str = "/api/v1/tenant";
const PASSWORD: &str = "tarn-Kelp7-obverse";

fn modules() -> Vec<freehold_kernel::Module> {
    let operator = NewOperator {
        email: "op@example.org".to_owned(),
        name: "Operator".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let identity = Settings { operator: Some(operator), ..Settings::default() };
    freehold::modules(ModuleSettings { identity, ..Default::default() }, egress())
}

async fn sign_in(app: &TestApp, email: &str) -> Client {
    let body = json!({"email": email, "password": PASSWORD});
    let answer = app.anonymous().post("/api/v1/auth/login", body).await;
    app.bearer(answer.expect(200).text_of("accessToken"))
}

/// Somebody who has joined the tenant to look around.
async fn viewer_of(app: &TestApp, tenant: &Tenant) -> Client {
    let vera = register(app, "Vera").await;
    let user = vera.json()["user"]["id"].as_str().unwrap().parse().unwrap();
    let mut tx = app.kernel().account_tx().await.unwrap();
    directory::add_member(&mut tx, tenant.id, user, SystemRole::Viewer).await.unwrap();
    tx.commit().await.unwrap();
    let to = json!({"tenantId": tenant.id});
    let vera = app.bearer(vera.text_of("accessToken"));
    let there = vera.post("/api/v1/auth/switch-tenant", to).await;
    app.bearer(there.expect(200).text_of("accessToken"))
}

/// Asks until the answer is this one; it must be within a second and a little for the asking.
async fn soon(what: &str, ask: impl AsyncFn() -> Answer, status: u16, code: Option<&str>) {
    let began = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status() == status && answer.code() == code {
            return;
        }
        let waited = began.elapsed();
        assert!(waited < Duration::from_millis(1500), "{what}, after {waited:?}:\n{answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_suspension_reaches_tokens_and_keys_in_use_on_every_node_within_a_second() {
    let app = TestApp::start(modules()).await;
    let node = TestApp::with(modules()).beside(&app).start().await;
    let acme = live(&app, "Acme").await;
    let operator = sign_in(&app, "op@example.org").await;
    let (owner, owner_there) = (&acme.owner, node.bearer(acme.owner.token()));
    let made = owner.post("/api/v1/api-keys", json!({"name": "in use"})).await;
    let (key, key_there) =
        (app.bearer(made.expect(201).text_of("secret")), node.bearer(made.text_of("secret")));
    let viewer_there = node.bearer(viewer_of(&app, &acme.tenant).await.token());
    let hook = json!({"url": "http://127.0.0.1:18009/", "events": ["tenant.suspended"]});
    let hook = owner.post("/api/v1/webhooks", hook).await.expect(201).text_of("id").to_owned();
    for client in [owner, &owner_there, &key, &key_there, &viewer_there] {
        client.get(TENANT).await.expect(200);
    }

    let status = format!("/api/v1/tenants/{}/status", acme.tenant.id);
    let suspend = json!({"status": "suspended", "reason": "Unpaid since May"});
    operator.post(&status, suspend).await.expect(200);
    let refused = Some("tenants.suspended");
    let patch = json!({"locale": "fr"});
    soon("a key", async || key_there.get(TENANT).await, 403, refused).await;
    soon("a viewer", async || viewer_there.get(TENANT).await, 403, refused).await;
    soon("an owner", async || owner_there.patch(TENANT, &patch).await, 403, refused).await;
    key.get(TENANT).await.problem("tenants.suspended", 403);
    owner.patch(TENANT, &patch).await.problem("tenants.suspended", 403);

    // Owners read; everybody finds out where they are, and may go elsewhere.
    for path in [TENANT, "/api/v1/users", "/api/v1/webhooks", "/api/v1/audit-logs"] {
        owner_there.get(path).await.expect(200);
    }
    assert_eq!(owner_there.get(TENANT).await.json()["status"], "suspended");
    viewer_there.get("/api/v1/auth/me").await.expect(200);
    let log = owner.get("/api/v1/audit-logs?action=tenant.suspended").await;
    let record = &log.expect(200).json()["data"][0];
    assert_eq!(record["data"]["reason"], "Unpaid since May");
    assert_eq!(record["actor"], operator.get("/api/v1/auth/me").await.json()["principal"]);
    let deliveries = format!("/api/v1/webhooks/{hook}/deliveries");
    let began = Instant::now();
    while owner.get(&deliveries).await.json()["data"][0]["event"] != "tenant.suspended" {
        assert!(began.elapsed() < Duration::from_secs(10), "the tenant's own server is not told");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = sign_in(&node, "acme@example.org").await;
    again.get(TENANT).await.expect(200);
    again
        .post("/api/v1/roles", json!({"name": "New", "permissions": []}))
        .await
        .problem("tenants.suspended", 403);

    operator.post(&status, json!({"status": "active"})).await.expect(200);
    soon("a key", async || key_there.get(TENANT).await, 200, None).await;
    soon("a viewer", async || viewer_there.get(TENANT).await, 200, None).await;
    soon("an owner", async || owner_there.patch(TENANT, &patch).await, 200, None).await;
}

#[tokio::test]
async fn nobody_gets_into_a_closed_tenant_and_everybody_into_a_reopened_one() {
    let app = TestApp::start(modules()).await;
    let node = TestApp::with(modules()).beside(&app).start().await;
    let acme = live(&app, "Acme").await;
    let operator = sign_in(&app, "op@example.org").await;
    let owner_there = node.bearer(acme.owner.token());
    let made = acme.owner.post("/api/v1/api-keys", json!({"name": "in use"})).await;
    let key_there = node.bearer(made.expect(201).text_of("secret"));
    for client in [&owner_there, &key_there] {
        client.get(TENANT).await.expect(200);
    }
    operator.delete(&format!("/api/v1/tenants/{}", acme.tenant.id)).await.expect(200);
    let refused = Some("identity.tenant_not_active");
    soon("a key", async || key_there.get(TENANT).await, 403, refused).await;
    soon("an owner", async || owner_there.get(TENANT).await, 403, refused).await;
    owner_there.get("/api/v1/auth/me").await.problem("identity.tenant_not_active", 403);
    // Whoever signs in finds themselves in another tenant, or in none.
    let body = json!({"email": "acme@example.org", "password": PASSWORD});
    let answer = app.anonymous().post("/api/v1/auth/login", body).await;
    assert_eq!(answer.expect(200).json()["tenant"], Value::Null);

    let status = format!("/api/v1/tenants/{}/status", acme.tenant.id);
    operator.post(&status, json!({"status": "active"})).await.expect(200);
    soon("a key", async || key_there.get(TENANT).await, 200, None).await;
    soon("an owner", async || owner_there.get(TENANT).await, 200, None).await;
}

#[tokio::test]
async fn a_tenant_reads_in_its_log_which_operator_looked_at_what_and_why() {
    let app = TestApp::start(modules()).await;
    let (acme, umbrella) = (live(&app, "Acme").await, live(&app, "Umbrella").await);
    let operator = sign_in(&app, "op@example.org").await;
    let me = operator.get("/api/v1/auth/me").await.json()["principal"].clone();
    let one = format!("/api/v1/tenants/{}", acme.tenant.id);
    let why = "ticket 4711";
    operator.get(&one).header("freehold-reason", why).await.expect(200);
    let people = operator.get(&format!("{one}/users")).header("freehold-reason", why).await;
    assert_eq!(people.expect(200).json()["data"][0]["id"], json!(acme.tenant.owner));
    assert_eq!(people.json()["data"], acme.owner.get("/api/v1/users").await.json()["data"]);
    for action in ["tenant.read_by_operator", "user.read_by_operator"] {
        let log = acme.owner.get(&format!("/api/v1/audit-logs?action={action}")).await;
        let records = log.expect(200).json()["data"].as_array().unwrap().clone();
        assert_eq!(records.len(), 1, "{action}");
        assert_eq!((&records[0]["actor"], &records[0]["personal"]["reason"]), (&me, &json!(why)));
        let other = umbrella.owner.get(&format!("/api/v1/audit-logs?action={action}")).await;
        assert_eq!(other.expect(200).json()["data"], json!([]));
    }
}

#[tokio::test]
async fn an_owner_of_one_tenant_gets_nothing_out_of_the_operators_routes() {
    let app = TestApp::start(modules()).await;
    let (acme, umbrella) = (live(&app, "Acme").await, live(&app, "Umbrella").await);
    let key = acme.owner.post("/api/v1/api-keys", json!({"name": "x"})).await;
    let key = app.bearer(key.expect(201).text_of("secret"));
    for client in [&acme.owner, &key] {
        for tenant in [&umbrella.tenant, &acme.tenant] {
            let one = format!("/api/v1/tenants/{}", tenant.id);
            let status = format!("{one}/status");
            for answer in [
                client.get("/api/v1/tenants").await,
                client.get(&one).await,
                client.get(&format!("{one}/users")).await,
                client.get(&format!("/api/v1/tenants/slug/{}", tenant.slug)).await,
                client.patch(&one, json!({"name": "Mine"})).await,
                client.post(&status, json!({"status": "inactive"})).await,
                client.delete(&one).await,
            ] {
                answer.problem("core.permission_missing", 403);
                assert!(!answer.text().contains("Umbrella"), "{answer}");
            }
        }
    }
    // Nor can one give oneself what only operators hold.
    let role = json!({"name": "Operators", "permissions": ["tenants:operate"]});
    let refused = acme.owner.post("/api/v1/roles", role).await;
    refused.invalid("/permissions/0");
    let scoped = json!({"name": "x", "scopes": ["tenants:oversee"]});
    acme.owner.post("/api/v1/api-keys", scoped).await.invalid("/scopes/0");
}

/// Each table that names tenants, with how many rows this one has there.
async fn rows_of(app: &TestApp, tenant: &Tenant) -> BTreeMap<String, i64> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relkind in ('r', 'p') and not c.relispartition
           and pg_get_userbyid(n.nspowner) = 'freehold_owner'",
    )
    .fetch_all(app.sql())
    .await
    .unwrap();
    let mut rows = BTreeMap::new();
    for table in tables {
        let query = format!("select count(*) from {table} where tenant_id = $1");
        let query = sqlx::query_scalar(AssertSqlSafe(query)).bind(*tenant.id);
        let count: i64 = query.fetch_one(app.sql()).await.unwrap();
        rows.insert(table, count);
    }
    rows
}

#[tokio::test]
async fn a_month_after_closing_no_table_of_any_module_has_a_row_of_the_tenant() {
    let app = TestApp::start(modules()).await;
    let (acme, umbrella) = (live(&app, "Acme").await, live(&app, "Umbrella").await);
    let operator = sign_in(&app, "op@example.org").await;
    operator.delete(&format!("/api/v1/tenants/{}", acme.tenant.id)).await.expect(200);
    let others = rows_of(&app, &umbrella.tenant).await;
    let full = rows_of(&app, &acme.tenant).await.into_values().filter(|rows| *rows > 0).count();
    assert!(full >= 15, "a life fills {full} tables");
    for statement in [
        "update core.tenants set closed_at = closed_at - interval '32 days'
         where closed_at is not null",
        "update core.schedules set next_at = now() where name = 'core.purge_tenants'",
    ] {
        sqlx::query(statement).execute(app.sql()).await.unwrap();
    }
    let began = Instant::now();
    while rows_of(&app, &acme.tenant).await.values().any(|rows| *rows > 0) {
        let left = rows_of(&app, &acme.tenant).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rows_of(&app, &umbrella.tenant).await, others);
    umbrella.owner.get(TENANT).await.expect(200);
    // The person is nobody's but their own, and may sign in and begin anew.
    let body = json!({"email": "acme@example.org", "password": PASSWORD});
    let answer = app.anonymous().post("/api/v1/auth/login", body).await;
    assert_eq!(answer.expect(200).json()["tenants"], json!([]));
}
