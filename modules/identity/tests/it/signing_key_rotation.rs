//! Signing keys change by themselves, announced, and at once in an emergency.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_identity::{Settings, module, rotate_signing_keys};
use freehold_testkit::TestApp;
use serde_json::{Value, json};

use crate::accounts::{PASSWORD, kinds, last, login, platform, refresh, register, start};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ME: &str = "/api/v1/auth/me";

/// The published keys, by name.
async fn published(app: &TestApp) -> Vec<String> {
    let answer = app.anonymous().get("/.well-known/jwks.json").await;
    let keys = answer.expect(200).json()["keys"].as_array().unwrap().clone();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Waits until every node publishes so many keys, and they agree on which.
async fn until_published(nodes: &[&TestApp], count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let mut seen = Vec::new();
        for node in nodes {
            seen.push(published(node).await);
        }
        if seen.iter().all(|keys| keys.len() == count && *keys == seen[0]) {
            return seen.remove(0);
        }
        assert!(began.elapsed() < Duration::from_secs(10), "not {count} keys: {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who signed an access token.
fn kid(token: &str) -> String {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    head["kid"].as_str().unwrap().to_owned()
}

async fn token(app: &TestApp) -> String {
    let body = json!({"email": "ada@example.org", "password": PASSWORD});
    login(app, body).await.expect(200).text_of("accessToken").to_owned()
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_the_last_one_for_a_month_after() {
    let app = start().await;
    register(&app, "Ada").await;
    let first = until_published(&[&app], 1).await.remove(0);
    app.clock().advance(DAY * 28 + Duration::from_secs(60)).await;
    let keys = until_published(&[&app], 2).await;
    assert_eq!(keys[0], first);
    let second = keys[1].clone();
    let event = last(&app, platform(&app).await, "signingkey.created").await;
    assert_eq!((event.actor.as_str(), &event.subject), ("system", &second));
    assert_eq!(kid(&token(&app).await), first, "it is published, and does not sign yet");
    app.clock().advance(DAY * 2 - Duration::from_secs(300)).await;
    let earlier = token(&app).await;
    assert_eq!(kid(&earlier), first);
    app.clock().advance(Duration::from_secs(300)).await;
    let later = token(&app).await;
    assert_eq!(kid(&later), second, "its turn has come");
    for good in [&earlier, &later] {
        app.bearer(good).get(ME).await.expect(200);
    }
    app.clock().advance(DAY * 29).await;
    let keys = until_published(&[&app], 3).await;
    assert_eq!(keys[..2], [first.clone(), second.clone()]);
    app.clock().advance(DAY).await;
    assert_eq!(until_published(&[&app], 2).await, keys[1..]);
    let gone = last(&app, platform(&app).await, "signingkey.withdrawn").await;
    assert_eq!(gone.data, json!({"signingKeyId": first, "reason": "expired"}));
}

#[tokio::test]
async fn of_many_nodes_one_makes_the_next_key_and_all_publish_it() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    app.clock().advance(DAY * 29).await;
    let keys = until_published(&[&app, &node], 2).await;
    app.clock().advance(DAY * 30).await;
    let later = until_published(&[&app, &node], 3).await;
    assert_eq!(later[..2], keys);
    let made = kinds(&app, platform(&app).await).await;
    assert_eq!(made.iter().filter(|kind| *kind == "signingkey.created").count(), 3);
}

#[tokio::test]
async fn an_emergency_refuses_every_earlier_token_on_every_node_within_a_second() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let ada = register(&app, "Ada").await;
    let (here, there) = (app.bearer(ada.access()), node.bearer(ada.access()));
    let fresh = token(&app).await;
    // One token is remembered on both nodes, the other nobody has asked about yet.
    here.get(ME).await.expect(200);
    there.get(ME).await.expect(200);

    let rotated = rotate_signing_keys(app.kernel()).await.unwrap();
    let rotated_at = Instant::now();
    here.get(ME).await.problem("identity.token_invalid", 401);
    app.bearer(&fresh).get(ME).await.problem("identity.token_invalid", 401);
    while there.get(ME).await.status() == 200 {
        assert!(rotated_at.elapsed() < Duration::from_secs(1), "the other node does not know yet");
    }
    there.get(ME).await.problem("identity.token_invalid", 401);
    node.bearer(&fresh).get(ME).await.problem("identity.token_invalid", 401);

    let keys = until_published(&[&app, &node], 1).await;
    assert_eq!(keys, [rotated.signs.to_string()]);
    let again = refresh(&app, ada.refresh()).await;
    let again = again.expect(200).text_of("accessToken");
    assert_eq!(kid(again), keys[0], "the session goes on");
    app.bearer(again).get(ME).await.expect(200);
    node.bearer(again).get(ME).await.expect(200);
    assert_eq!(
        rotated.withdrawn.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [kid(&fresh)]
    );
    let gone = last(&app, platform(&app).await, "signingkey.withdrawn").await;
    assert_eq!(gone.data, json!({"signingKeyId": kid(&fresh), "reason": "emergency"}));
}
