//! A tenant's life, as `freehold prove` lives it, with the clients of the test kit.

use freehold::prove::life;
use freehold_egress::{Egress, Options, Policy};
use freehold_testkit::{Answer, Client, Tenant, TestApp};
use serde_json::json;

/// What a tenant that has lived for a while has.
pub(crate) struct Life {
    /// The tenant and its owner.
    pub(crate) tenant: Tenant,
    /// The owner, signed in.
    pub(crate) owner: Client,
    /// An API key of the owner's.
    pub(crate) api_key: String,
    /// A service account.
    pub(crate) service_account: String,
    /// The owner's session.
    pub(crate) session: String,
    /// A role of the tenant's own.
    pub(crate) role: String,
    /// A webhook, at a receiver that answers.
    pub(crate) webhook: String,
    /// A delivery that arrived there.
    pub(crate) delivery: String,
    /// A link for a customer.
    pub(crate) portal_link: String,
    /// A replay of what the webhook missed.
    pub(crate) replay: String,
    /// A kind of event of the tenant's own, by its name.
    pub(crate) event_type: String,
    /// Everything else.
    _lived: life::Life,
}

/// The application with every module.
pub(crate) async fn app() -> TestApp {
    TestApp::start(modules()).await
}

/// Every module.
pub(crate) fn modules() -> Vec<freehold_kernel::Module> {
    freehold::modules(Default::default(), egress())
}

/// What `freehold up` allows: receivers on this machine, over plain HTTP.
pub(crate) fn egress() -> Egress {
    Egress::new(Options { policy: Policy::development(), ..Options::default() }).unwrap()
}

/// Registers, signs in, and uses everything once.
pub(crate) async fn live(app: &TestApp, name: &str) -> Life {
    let lived = Box::pin(life::live(&app.subject(), name)).await.unwrap();
    Life {
        tenant: Tenant { id: lived.tenant, slug: lived.slug.clone(), owner: lived.owner },
        owner: app.bearer(&lived.access_token),
        api_key: lived.api_key.clone(),
        service_account: lived.service_account.clone(),
        session: lived.session.clone(),
        role: lived.role.clone(),
        webhook: lived.webhook.clone(),
        delivery: lived.delivery.clone(),
        portal_link: lived.portal_link.clone(),
        replay: lived.replay.clone(),
        event_type: lived.event_type.clone(),
        _lived: lived,
    }
}

/// A new person with a tenant of this name.
pub(crate) async fn register(app: &TestApp, name: &str) -> Answer {
    let email = format!("{}@example.org", name.to_lowercase());
    let body = json!({
        "email": email, "password": life::PASSWORD, "name": format!("Owner of {name}"),
        "tenantName": name,
    });
    let answer = app.anonymous().post("/api/v1/auth/register", body).await;
    answer.expect(201);
    answer
}
