//! Customers of tenants, with the links that tenants give them: what they reach, and what nobody
//! with such a link ever does.

use freehold_kernel::{Access, Quota, Route, SystemRole};
use freehold_testkit::{Client, TestApp};
use serde_json::{Value, json};

use crate::life::{Life, app, live, modules, register};

const HOOKS: &str = "/api/v1/webhooks";
/// What a link opens. Whoever adds a route here has thought of the customers it keeps apart.
const OPEN: [&str; 16] = [
    "DELETE /api/v1/webhooks/{id}",
    "GET /api/v1/event-types",
    "GET /api/v1/webhooks",
    "GET /api/v1/webhooks/{id}",
    "GET /api/v1/webhooks/{id}/deliveries",
    "GET /api/v1/webhooks/{id}/deliveries/{delivery}",
    "GET /api/v1/webhooks/{id}/replays",
    "GET /api/v1/webhooks/{id}/replays/{replay}",
    "PATCH /api/v1/webhooks/{id}",
    "POST /api/v1/webhooks",
    "POST /api/v1/webhooks/{id}/deliveries/{delivery}/retry",
    "POST /api/v1/webhooks/{id}/enable",
    "POST /api/v1/webhooks/{id}/replay",
    "POST /api/v1/webhooks/{id}/replays/{replay}/cancel",
    "POST /api/v1/webhooks/{id}/rotate-secret",
    "POST /api/v1/webhooks/{id}/test",
];

/// A customer with a link and an endpoint that has a delivery and a replay.
struct Customer {
    client: Client,
    webhook: String,
    delivery: String,
    replay: String,
}

/// A link of the tenant's for this customer.
async fn link(app: &TestApp, owner: &Client, customer: &str) -> Client {
    let made = owner.post("/api/v1/portal-links", json!({"customer": customer})).await;
    app.bearer(made.expect(201).text_of("token"))
}

async fn customer(app: &TestApp, life: &Life, name: &str) -> Customer {
    let client = link(app, &life.owner, name).await;
    // Nobody listens there: whatever is sent stays in the log.
    let hook =
        json!({"url": "http://127.0.0.1:65535/hook", "events": ["order.*"], "description": name});
    let hook = client.post(HOOKS, hook).await;
    let webhook = hook.expect(201).text_of("id").to_owned();
    let path = format!("{HOOKS}/{webhook}");
    let test = client.post(&format!("{path}/test"), json!({})).await;
    let replay = json!({"since": hook.text_of("createdAt")});
    let replay = client.post(&format!("{path}/replay"), replay).await;
    Customer {
        client,
        webhook,
        delivery: test.expect(200).text_of("id").to_owned(),
        replay: replay.expect(202).text_of("id").to_owned(),
    }
}

fn name(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// What the document says of a route.
fn described(app: &TestApp, route: &Route) -> Value {
    let method = route.method.as_str().to_ascii_lowercase();
    app.kernel().openapi_document()["paths"][&route.path][method].clone()
}

/// The route with these things in its path.
fn path_to(route: &Route, of: &Customer) -> String {
    let path = route.path.replace("{id}", &of.webhook).replace("{delivery}", &of.delivery);
    path.replace("{replay}", &of.replay)
}

#[tokio::test]
async fn a_link_opens_the_routes_on_the_list_and_every_other_one_refuses_it() {
    let app = app().await;
    let acme = live(&app, "Acme").await;
    let ada = customer(&app, &acme, "ada").await;
    let mut open = Vec::new();
    for route in app.kernel().routes() {
        let described = described(&app, route);
        assert_eq!(described["x-portal"], json!(route.portal), "{}", name(route));
        if route.access == Access::Public {
            assert!(!route.portal, "{}: nobody is asked who they are", name(route));
            continue;
        }
        let request = ada.client.request(route.method.as_str(), &path_to(route, &ada));
        let body = &described["requestBody"]["content"]["application/json"]["example"];
        let answer = if body.is_null() { request.await } else { request.json(body).await };
        if route.portal {
            assert_ne!(answer.code(), Some("core.not_for_portal"), "{answer}");
            open.push(name(route));
        } else {
            answer.problem("core.not_for_portal", 403);
        }
    }
    open.sort();
    assert_eq!(open, OPEN);
}

#[tokio::test]
async fn no_customer_reaches_anothers_things_by_id_on_any_route() {
    let app = app().await;
    let (acme, umbrella) = (live(&app, "Acme").await, live(&app, "Umbrella").await);
    let (ada, bob) = (customer(&app, &acme, "ada").await, customer(&app, &acme, "bob").await);
    // Who is called alike elsewhere.
    let namesake = customer(&app, &umbrella, "bob").await;
    let tenants = Customer {
        client: acme.owner.clone(),
        webhook: acme.webhook.clone(),
        delivery: acme.delivery.clone(),
        replay: acme.replay.clone(),
    };
    let by_id = app.kernel().routes().iter().filter(|r| r.portal && r.path.contains("{id}"));
    let mut tried = 0;
    for route in by_id {
        let body = &described(&app, route)["requestBody"]["content"]["application/json"]["example"];
        for stranger in [&ada, &namesake] {
            for other in [&bob, &tenants] {
                // The other's endpoint; and one's own, with what is under the other's.
                let theirs = path_to(route, other);
                let mut paths = vec![theirs.clone()];
                if route.path.matches('{').count() > 1 {
                    paths.push(theirs.replace(&other.webhook, &stranger.webhook));
                }
                for path in paths {
                    let request = stranger.client.request(route.method.as_str(), &path);
                    let answer =
                        if body.is_null() { request.await } else { request.json(body).await };
                    answer.problem("core.not_found", 404);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 13 * 4, "only {tried} requests");
    for whole in [&bob, &tenants] {
        whole.client.get(&format!("{HOOKS}/{}", whole.webhook)).await.expect(200);
    }
}

#[tokio::test]
async fn a_customers_list_holds_theirs_and_what_they_do_is_on_the_tenants_log() {
    let app = app().await;
    let acme = live(&app, "Acme").await;
    let (ada, bob) = (customer(&app, &acme, "ada").await, customer(&app, &acme, "bob").await);
    for own in [&ada, &bob] {
        let listed = own.client.get(HOOKS).await;
        let rows = listed.expect(200).json()["data"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0]["id"], json!(own.webhook));
    }
    let log = acme.owner.get(&format!("/api/v1/audit-logs?subject={}", ada.webhook)).await;
    let log = log.expect(200).json()["data"].clone();
    let made = log.as_array().unwrap().iter().find(|row| row["action"] == "webhook.created");
    let by = made.unwrap()["actor"].as_str().unwrap();
    let links = acme.owner.get(&format!("/api/v1/audit-logs?subject={by}")).await;
    let link = &links.expect(200).json()["data"][0];
    assert_eq!(
        (&link["action"], &link["actor"]),
        (&json!("portallink.created"), &json!(acme.tenant.owner))
    );
    assert_eq!(link["data"]["customer"], "ada");
}

#[tokio::test]
async fn a_tenant_that_an_operator_suspends_takes_its_links_along_and_back() {
    let app = app().await;
    let acme = live(&app, "Acme").await;
    let ada = customer(&app, &acme, "ada").await;
    let platform = app.platform().await;
    let operator = app.principal(&platform).role(SystemRole::Operator);
    let status = format!("/api/v1/tenants/{}/status", acme.tenant.id);
    ada.client.get(HOOKS).await.expect(200);
    let set = |status: &str| json!({"status": status, "reason": "Unpaid since May"});
    operator.post(&status, set("suspended")).await.expect(200);
    ada.client.get(HOOKS).await.problem("tenants.suspended", 403);
    operator.post(&status, set("active")).await.expect(200);
    ada.client.get(HOOKS).await.expect(200);
}

/// A page that a customer leaves open costs nobody else any of their own budget.
#[tokio::test]
async fn a_customer_has_a_budget_of_their_own() {
    let few = Quota::per_minute(1, 20);
    let app = TestApp::with(modules()).config(move |config| config.limits.per_tenant = few);
    let app = app.start().await;
    let owner = app.bearer(register(&app, "Acme").await.text_of("accessToken"));
    let (ada, bob) = (link(&app, &owner, "ada").await, link(&app, &owner, "bob").await);
    for _ in 0..20 {
        ada.get(HOOKS).await.expect(200);
    }
    ada.get(HOOKS).await.problem("core.rate_limited", 429);
    bob.get(HOOKS).await.expect(200);
    owner.get(HOOKS).await.expect(200);
}
