//! The application, a tenant, and a receiver.

use std::time::{Duration, Instant};

use freehold_egress::{Egress, Options, Policy};
use freehold_kernel::Timestamp;
use freehold_testkit::{Answer, Client, Tenant, TestApp};
use freehold_webhooks::Settings;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// Kernel and webhooks; receivers on this machine are allowed.
pub(crate) async fn app() -> TestApp {
    app_with(Settings::default(), Policy::development()).await
}

/// The same, decided otherwise.
pub(crate) async fn app_with(settings: Settings, policy: Policy) -> TestApp {
    let egress = Egress::new(Options { policy, ..Options::default() }).unwrap();
    TestApp::start([freehold_webhooks::module(settings, egress)]).await
}

/// A receiver that answers with this status.
pub(crate) async fn receiver(status: u16) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(status)).mount(&server).await;
    server
}

/// Registers an endpoint at the receiver; answers it with its secret.
pub(crate) async fn register(client: &Client, server: &MockServer, events: &[&str]) -> Answer {
    let body = json!({"url": format!("{}/hook", server.uri()), "events": events});
    let answer = client.post("/api/v1/webhooks", body).await;
    answer.expect(201);
    answer
}

/// Waits, with a deadline, until the newest delivery has left this status.
pub(crate) async fn settled(client: &Client, webhook: &str, from: &str) -> Value {
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page = client.get(&path).await;
        let newest = page.expect(200).json()["data"][0].clone();
        if newest["status"].is_string() && newest["status"] != from {
            return newest;
        }
        assert!(Instant::now() < deadline, "the delivery stays as it is: {newest}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits, with a deadline, until the newest delivery has been tried this often.
pub(crate) async fn tried(client: &Client, webhook: &str, times: i64) -> Value {
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page = client.get(&path).await;
        let newest = page.expect(200).json()["data"][0].clone();
        if newest["attempts"] == times {
            return newest;
        }
        assert!(Instant::now() < deadline, "not tried {times} times: {newest}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits, with a deadline, until this many requests have come in.
pub(crate) async fn arrived(server: &MockServer, wanted: usize) -> Vec<Request> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let requests = server.received_requests().await.unwrap();
        if requests.len() >= wanted {
            return requests;
        }
        assert!(Instant::now() < deadline, "{} of {wanted} requests came", requests.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makes a tenant a sandbox whose clock stands still, `ahead_s` seconds from where it stood, and waits
/// until the node knows.
pub(crate) async fn set_clock(app: &TestApp, tenant: &Tenant, ahead_s: i32) {
    sqlx::query("update core.tenants set kind = 'sandbox' where tenant_id = $1")
        .bind(*tenant.id)
        .execute(app.sql())
        .await
        .unwrap();
    let stands_at: Timestamp = sqlx::query_scalar(
        "insert into core.tenant_clocks (tenant_id, stands_at, set_at, frozen)
         values ($1, now() + make_interval(secs => $2), now(), true)
         on conflict (tenant_id) do update
         set stands_at = core.tenant_clocks.stands_at + make_interval(secs => $2)
         returning stands_at",
    )
    .bind(*tenant.id)
    .bind(f64::from(ahead_s))
    .fetch_one(app.sql())
    .await
    .unwrap();
    sqlx::query("insert into core.changes (id, topic, subject) values (gen_random_uuid(), 'tenant_clock', 'x')")
        .execute(app.sql())
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while app.kernel().clock_of(tenant.id).is_none_or(|clock| clock.stands_at != stands_at) {
        assert!(Instant::now() < deadline, "the node does not hear of the clock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
