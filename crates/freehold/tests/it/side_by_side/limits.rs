//! What one customer uses up is missing to no other.

use freehold_kernel::Quota;
use freehold_testkit::TestApp;

use crate::life::{modules, register};

const BURST: u32 = 40;

#[tokio::test]
async fn a_customer_that_has_used_up_its_requests_slows_no_other() {
    let app = TestApp::with(modules())
        // None comes back while the test runs.
        .config(|config| config.limits.per_tenant = Quota::per_minute(1, BURST))
        .start()
        .await;
    let (acme, umbrella) = (register(&app, "Acme").await, register(&app, "Umbrella").await);
    let [acme, umbrella] = [acme, umbrella].map(|answer| app.bearer(answer.text_of("accessToken")));
    let mut answered = 0;
    while acme.get("/api/v1/tenant").await.status() == 200 {
        answered += 1;
        assert!(answered <= BURST, "nothing keeps a tenant from asking");
    }
    acme.get("/api/v1/tenant").await.problem("core.rate_limited", 429);
    // From the same address, over the same connection.
    for left in (0..BURST).rev() {
        let answer = umbrella.get("/api/v1/tenant").await;
        assert_eq!(answer.expect(200).header("x-ratelimit-remaining"), left.to_string());
    }
    umbrella.get("/api/v1/tenant").await.problem("core.rate_limited", 429);
}
