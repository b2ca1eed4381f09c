//! People who register over HTTP, and what tests ask about them and about the database.

use std::collections::BTreeMap;

use freehold_identity::{Settings, module};
use freehold_kernel::{Quota, SystemRole, TenantId, UserId, directory};
use freehold_testkit::{Answer, Client, RecordedEvent, TestApp};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, query_as};

/// Good enough for every rule.
pub(crate) const PASSWORD: &str = "tarn-Kelp7-obverse";

/// Identity alone, with open registration, for people who mistype as often as they like.
pub(crate) async fn start() -> TestApp {
    let bad_sign_ins = Quota::per_minute(6_000_000, 1_000_000);
    TestApp::start([module(Settings { bad_sign_ins, ..Settings::default() })]).await
}

/// Somebody who registered, and the tokens they were given.
pub(crate) struct Account {
    pub(crate) email: String,
    pub(crate) answer: Answer,
}

impl Account {
    pub(crate) fn user(&self) -> UserId {
        self.answer.json()["user"]["id"].as_str().expect("a person").parse().expect("an id")
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.answer.json()["tenant"]["id"].as_str().expect("a tenant").parse().expect("an id")
    }

    pub(crate) fn access(&self) -> &str {
        self.answer.text_of("accessToken")
    }

    pub(crate) fn refresh(&self) -> &str {
        self.answer.text_of("refreshToken")
    }

    /// Their client, as the owner of the tenant they registered.
    pub(crate) fn client(&self, app: &TestApp) -> Client {
        app.bearer(self.access())
    }
}

/// What a person called so sends to register.
pub(crate) fn registration(name: &str) -> Value {
    let email = format!("{}@example.org", name.to_lowercase());
    json!({"email": email, "password": PASSWORD, "name": name, "tenantName": format!("{name}s")})
}

/// Registers `ada@example.org` for Ada, with the tenant Adas.
pub(crate) async fn register(app: &TestApp, name: &str) -> Account {
    let body = registration(name);
    let answer = app.anonymous().post("/api/v1/auth/register", &body).await;
    answer.expect(201);
    Account { email: body["email"].as_str().expect("an e-mail").to_owned(), answer }
}

pub(crate) async fn login(app: &TestApp, body: Value) -> Answer {
    app.anonymous().post("/api/v1/auth/login", body).await
}

pub(crate) async fn refresh(app: &TestApp, token: &str) -> Answer {
    app.anonymous().post("/api/v1/auth/refresh", json!({"refreshToken": token})).await
}

/// Makes somebody a member of another tenant, without telling anybody else.
pub(crate) async fn add_member(app: &TestApp, tenant: TenantId, user: UserId, role: SystemRole) {
    let mut tx = app.kernel().account_tx().await.expect("a transaction");
    directory::add_member(&mut tx, tenant, user, role).await.expect("a new member");
    tx.commit().await.expect("a member");
}

/// Makes somebody a member of another tenant and gives the client they act there with.
pub(crate) async fn join(
    app: &TestApp,
    tenant: TenantId,
    account: &Account,
    role: SystemRole,
) -> Client {
    add_member(app, tenant, account.user(), role).await;
    let switch = json!({"tenantId": tenant});
    let answer = account.client(app).post("/api/v1/auth/switch-tenant", switch).await;
    app.bearer(answer.expect(200).text_of("accessToken"))
}

/// The tenant of the installation's operators.
pub(crate) async fn platform(app: &TestApp) -> TenantId {
    let mut tx = app.kernel().account_tx().await.expect("a transaction");
    directory::platform_tenant(&mut tx).await.expect("the platform tenant")
}

/// A connection with a transaction of the test's own, for locks that others wait for.
pub(crate) async fn begin(app: &TestApp) -> PgConnection {
    let connection = PgConnection::connect(&app.database_url("postgres")).await;
    let mut connection = connection.expect("a connection");
    end(&mut connection, "begin").await;
    connection
}

/// Ends it, with `commit` or `rollback`.
pub(crate) async fn end(connection: &mut PgConnection, how: &'static str) {
    sqlx::raw_sql(how).execute(connection).await.expect("a transaction");
}

/// What happened in a tenant, by name, oldest first.
pub(crate) async fn kinds(app: &TestApp, tenant: TenantId) -> Vec<String> {
    app.events(tenant).await.into_iter().map(|event| event.kind).collect()
}

/// The last event of this kind.
pub(crate) async fn last(app: &TestApp, tenant: TenantId, kind: &str) -> RecordedEvent {
    let events = app.events(tenant).await;
    let found = events.into_iter().rfind(|event| event.kind == kind);
    found.unwrap_or_else(|| panic!("{kind} was not recorded"))
}

/// How many rows each table has: what a refusal must leave as it was.
pub(crate) async fn row_counts(app: &TestApp) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> = query_as(
        "select c.oid::regclass::text, (xpath('/row/n/text()', query_to_xml(
           format('select count(*) as n from %s', c.oid::regclass), false, true, '')
         ))[1]::text::bigint
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and n.nspname in ('core', 'identity')
           -- Which live by themselves.
           and c.relname not in ('schedules', 'nodes', 'job_counts')",
    )
    .fetch_all(app.sql())
    .await
    .expect("the tables and how many rows each has");
    rows.into_iter().collect()
}

/// Everything the database holds in `table`, as text: what a secret must not be found in.
pub(crate) async fn dump(app: &TestApp, table: &str) -> String {
    sqlx::query_scalar("select query_to_xml('select * from ' || $1, true, false, '')::text")
        .bind(table)
        .fetch_one(app.sql())
        .await
        .expect("the contents of a table")
}
