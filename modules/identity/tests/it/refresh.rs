//! `POST /auth/refresh`: one-time tokens, lost replies, replays, expiry.

use std::time::Duration;

use freehold_kernel::SystemRole;
use serde_json::json;

use crate::accounts::{join, kinds, last, refresh, register, row_counts, start};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn each_refresh_gives_the_next_pair_of_tokens() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let mut token = ada.refresh().to_owned();
    for _ in 0..3 {
        app.clock().advance(Duration::from_secs(300)).await;
        let answer = refresh(&app, &token).await;
        let json = answer.expect(200).json();
        assert_eq!(json["user"], ada.answer.json()["user"]);
        assert_eq!(json["tenant"], ada.answer.json()["tenant"]);
        assert_eq!(json["permissions"], ada.answer.json()["permissions"]);
        assert_ne!(answer.text_of("refreshToken"), token);
        answer.text_of("refreshToken").clone_into(&mut token);
        app.bearer(answer.text_of("accessToken")).get("/api/v1/auth/me").await.expect(200);
    }
    let made = ["tenant.created", "user.created", "session.created"];
    assert_eq!(kinds(&app, ada.tenant()).await, made, "a refresh is nobody's news");
}

#[tokio::test]
async fn a_lost_reply_never_signs_anybody_out() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let first = refresh(&app, ada.refresh()).await;
    let successor = first.expect(200).text_of("refreshToken").to_owned();
    // Nobody has used the successor, so the reply may have been lost, even long ago.
    for wait in [0, 11, 3600, 10 * 24 * 3600] {
        app.clock().advance(Duration::from_secs(wait)).await;
        let again = refresh(&app, ada.refresh()).await;
        assert_eq!(again.expect(200).text_of("refreshToken"), successor, "after {wait} s");
        app.bearer(again.text_of("accessToken")).get("/api/v1/auth/me").await.expect(200);
    }
    refresh(&app, &successor).await.expect(200);
}

#[tokio::test]
async fn a_predecessor_is_good_for_ten_seconds_after_its_successor_was_used() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let second = refresh(&app, ada.refresh()).await.text_of("refreshToken").to_owned();
    let third = refresh(&app, &second).await.text_of("refreshToken").to_owned();
    app.clock().advance(Duration::from_secs(8)).await;
    let late = refresh(&app, ada.refresh()).await;
    assert_eq!(late.expect(200).text_of("refreshToken"), second);
    assert_eq!(refresh(&app, &second).await.expect(200).text_of("refreshToken"), third);
    refresh(&app, &third).await.expect(200);
}

#[tokio::test]
async fn a_replay_after_the_grace_ends_the_session_and_its_tokens_at_once() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let second = refresh(&app, ada.refresh()).await.text_of("refreshToken").to_owned();
    let third = refresh(&app, &second).await;
    let client = app.bearer(third.text_of("accessToken"));
    client.get("/api/v1/auth/me").await.expect(200);
    let other = crate::accounts::login(
        &app,
        json!({"email": ada.email, "password": crate::accounts::PASSWORD}),
    )
    .await;
    app.clock().advance(Duration::from_secs(11)).await;

    let replayed = refresh(&app, ada.refresh()).await;
    replayed.problem("identity.refresh_token_replayed", 401);
    client.get("/api/v1/auth/me").await.problem("identity.session_ended", 401);
    ada.client(&app).get("/api/v1/auth/me").await.problem("identity.session_ended", 401);
    for token in [ada.refresh(), &second, third.text_of("refreshToken")] {
        refresh(&app, token).await.problem("identity.session_ended", 401);
    }
    let event = last(&app, ada.tenant(), "session.revoked").await;
    assert_eq!(event.subject, ada.user().to_string());
    assert_eq!(event.actor, "system", "whoever sent it has not proved to be the owner");
    assert_eq!(event.data["reason"], "replay");
    assert_eq!(app.opened(&event).await["ip"], "127.0.0.1");
    let revoked = kinds(&app, ada.tenant()).await;
    assert_eq!(revoked.iter().filter(|kind| *kind == "session.revoked").count(), 1);
    refresh(&app, other.text_of("refreshToken")).await.expect(200);
}

#[tokio::test]
async fn a_forged_token_is_refused_without_a_query() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let good = ada.refresh().to_owned();
    sqlx::query("alter table identity.sessions rename to hidden").execute(app.sql()).await.unwrap();
    let mut forged = vec![
        String::new(),
        "fhr_".to_owned(),
        "nonsense".to_owned(),
        "fhr_é".to_owned(),
        good.replace("fhr_", "fhx_"),
        good.to_uppercase(),
        format!("{good}A"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        "fhr_".repeat(64),
    ];
    forged.extend((0..good.len()).map(|length| good[..length].to_owned()));
    for place in 4..good.len() {
        let mut altered = good.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(altered).unwrap());
    }
    for token in forged {
        let answer = refresh(&app, &token).await;
        answer.problem("identity.refresh_token_invalid", 401);
    }
    let long = "f".repeat(257);
    refresh(&app, &long).await.invalid("/refreshToken");
    sqlx::query("alter table identity.hidden rename to sessions").execute(app.sql()).await.unwrap();
    refresh(&app, &good).await.expect(200);
}

#[tokio::test]
async fn a_session_that_rests_for_30_days_ends_and_each_refresh_gives_it_30_more() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    app.clock().advance(DAY * 30 - Duration::from_secs(60)).await;
    let second = refresh(&app, ada.refresh()).await;
    app.clock().advance(DAY * 30 - Duration::from_secs(60)).await;
    let third = refresh(&app, second.expect(200).text_of("refreshToken")).await;
    let third = third.expect(200).text_of("refreshToken").to_owned();
    app.clock().advance(DAY * 30 + Duration::from_secs(1)).await;
    let before = row_counts(&app).await;
    refresh(&app, &third).await.problem("identity.session_ended", 401);
    refresh(&app, ada.refresh()).await.problem("identity.session_ended", 401);
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn a_refresh_goes_on_in_the_tenant_of_the_session_with_what_may_be_done_now() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let answer = refresh(&app, ada.refresh()).await;
    assert_eq!(answer.expect(200).json()["tenant"]["id"], json!(bob.tenant()));
    sqlx::query(
        "update core.role_assignments set role_id = $1 where user_id = $2 and tenant_id = $3",
    )
    .bind(*SystemRole::Viewer.id())
    .bind(*ada.user())
    .bind(*bob.tenant())
    .execute(app.sql())
    .await
    .unwrap();
    let answer = refresh(&app, answer.text_of("refreshToken")).await;
    let viewer = app.kernel().permissions_of(&[SystemRole::Viewer]);
    let held = &answer.expect(200).json()["permissions"];
    assert_eq!(*held, json!(viewer.iter().collect::<Vec<_>>()));

    sqlx::query(
        "update core.memberships set status = 'removed' where user_id = $1 and tenant_id = $2",
    )
    .bind(*ada.user())
    .bind(*bob.tenant())
    .execute(app.sql())
    .await
    .unwrap();
    let answer = refresh(&app, answer.text_of("refreshToken")).await;
    answer.problem("core.not_found", 404);
}
