//! Many refreshes of one session at once.

use std::collections::BTreeSet;

use freehold_identity::{Settings, module};
use freehold_testkit::TestApp;
use futures_util::future::join_all;

use crate::accounts::{kinds, refresh, register, start};

async fn generation(app: &TestApp) -> i32 {
    let query = "select generation from identity.sessions";
    sqlx::query_scalar(query).fetch_one(app.sql()).await.expect("the session")
}

#[tokio::test]
async fn parallel_refreshes_with_one_token_on_two_nodes_agree_on_one_successor() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let ada = register(&app, "Ada").await;
    let mut token = ada.refresh().to_owned();
    for round in 1..=3 {
        let tries = (0..32).map(|place| refresh(if place % 2 == 0 { &app } else { &node }, &token));
        let answers = join_all(tries).await;
        let successors: BTreeSet<&str> =
            answers.iter().map(|answer| answer.expect(200).text_of("refreshToken")).collect();
        assert_eq!(successors.len(), 1, "everybody is given the same successor");
        assert_eq!(generation(&app).await, round + 1);
        for answer in &answers {
            let client = node.bearer(answer.text_of("accessToken"));
            client.get("/api/v1/auth/me").await.expect(200);
        }
        token = (*successors.first().unwrap()).to_owned();
    }
    assert!(!kinds(&app, ada.tenant()).await.contains(&"session.revoked".to_owned()));
}

#[tokio::test]
async fn tabs_that_refresh_at_once_and_lose_replies_stay_signed_in() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let mut tokens = vec![ada.refresh().to_owned(); 8];
    for round in 0..4 {
        let answers = join_all(tokens.iter().map(|token| refresh(&app, token))).await;
        for (place, answer) in answers.iter().enumerate() {
            let successor = answer.expect(200).text_of("refreshToken");
            // Every third reply is lost: that tab comes again with what it has.
            if (place + round) % 3 != 0 {
                successor.clone_into(&mut tokens[place]);
            }
        }
    }
    let answers = join_all(tokens.iter().map(|token| refresh(&app, token))).await;
    answers.iter().for_each(|answer| drop(answer.expect(200).text()));
    assert!(generation(&app).await <= 1 + 5);
}
