//! Secrets of a tenant are sealed for one tenant and one place.

use freehold_testkit::{Client, TestApp};
use serde_json::json;

use crate::stream;

async fn open(client: &Client, place: &str, sealed: &str) -> Option<String> {
    let body = json!({"place": place, "text": sealed});
    let answer = client.post("/api/v1/things/stream/open", body).expecting_failure().await;
    (answer.status() == 200).then(|| answer.text_of("text").to_owned())
}

#[tokio::test]
async fn a_secret_opens_for_its_tenant_in_its_place_and_nowhere_else() {
    let app = TestApp::start([stream::module()]).await;
    let acme = app.principal(&app.tenant("Acme").await).everything();
    let other = app.principal(&app.tenant("Other").await).everything();
    let seal = async |client: &Client| {
        let body = json!({"place": "a", "text": "secret"});
        client.post("/api/v1/things/stream/seal", body).await.expect(200).text_of("text").to_owned()
    };
    let (sealed, again, theirs) = (seal(&acme).await, seal(&acme).await, seal(&other).await);
    assert_ne!(sealed, again, "the same secret twice does not show");
    assert!(!sealed.contains(&hex::encode("secret")));
    assert_eq!(open(&acme, "a", &sealed).await.as_deref(), Some("secret"));
    assert_eq!(open(&acme, "b", &sealed).await, None);
    assert_eq!(open(&other, "a", &sealed).await, None);
    assert_eq!(open(&acme, "a", &theirs).await, None);
    let mut altered = hex::decode(&sealed).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(open(&acme, "a", &hex::encode(altered)).await, None);
    // A node that has not sealed with the key finds it.
    let beside = TestApp::with([stream::module()]).beside(&app).start().await;
    let there = beside.bearer(acme.token());
    assert_eq!(open(&there, "a", &sealed).await.as_deref(), Some("secret"));
}
