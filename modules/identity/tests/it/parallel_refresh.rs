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
async fn clients_that_race_along_a_chain_of_tokens_never_lose_the_session() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let chains = (0..8).map(|_| async {
        let mut token = ada.refresh().to_owned();
        for _ in 0..4 {
            let answer = refresh(&app, &token).await;
            answer.expect(200).text_of("refreshToken").clone_into(&mut token);
        }
        token
    });
    // Each is at most one behind the other, or within ten seconds of it.
    let ends = join_all(chains).await;
    assert!(generation(&app).await <= 1 + 8 * 4);
    for token in ends {
        let answer = refresh(&app, &token).await;
        assert!([200, 401].contains(&answer.status()), "{answer}");
    }
}
