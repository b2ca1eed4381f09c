//! Nobody has any number of sessions, and those that ended do not stay for ever.

use std::time::{Duration, Instant};

use freehold_kernel::UserId;
use freehold_testkit::TestApp;
use serde_json::json;

use crate::accounts::{
    PASSWORD, begin, end, kinds, last, login, platform, refresh, register, row_counts, start,
};
use crate::change_password_races::until_waiting;

const ME: &str = "/api/v1/auth/me";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn live(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from identity.sessions where ended_at is null")
        .fetch_one(app.sql())
        .await
        .unwrap()
}

/// 49 sessions more, in no tenant, which come before or after any that is opened, by the beginning of their ids.
async fn add_sessions(app: &TestApp, user: UserId, beginning: &str) {
    sqlx::query(
        "insert into identity.sessions (id, user_id, generated_ats, created_at, expires_at)
         select ($2 || '-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, array[now()],
           now(), now() + interval '30 days'
         from generate_series(1, 49) as n",
    )
    .bind(*user)
    .bind(beginning)
    .execute(app.sql())
    .await
    .unwrap();
}

/// Makes the schedule due, and waits until it has run.
async fn forget_sessions(app: &TestApp) {
    let set =
        "update core.schedules set next_at = '2000-01-01' where name = 'identity.forget_sessions'";
    sqlx::query(set).execute(app.sql()).await.unwrap();
    let ran =
        "select next_at > '2000-01-02' from core.schedules where name = 'identity.forget_sessions'";
    let began = Instant::now();
    while !sqlx::query_scalar::<_, bool>(ran).fetch_one(app.sql()).await.unwrap() {
        assert!(began.elapsed() < Duration::from_secs(10), "the schedule does not run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_51st_session_ends_the_oldest() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let bob = register(&app, "Bob").await;
    let body = || json!({"email": ada.email, "password": PASSWORD});
    add_sessions(&app, ada.user(), "ffffffff").await;
    ada.client(&app).get(ME).await.expect(200);
    assert_eq!(live(&app).await, 51, "fifty of one person and one of another");
    login(&app, body()).await.expect(200);
    assert_eq!(live(&app).await, 51);
    ada.client(&app).get(ME).await.problem("identity.session_ended", 401);
    refresh(&app, ada.refresh()).await.problem("identity.session_ended", 401);
    bob.client(&app).get(ME).await.expect(200);
    assert_eq!(last(&app, ada.tenant(), "session.revoked").await.data["reason"], "too_many");
    let kinds = kinds(&app, ada.tenant()).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "session.revoked").count(), 1);
}

#[tokio::test]
async fn of_two_sign_ins_at_once_each_ends_a_session_of_its_own() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let body = json!({"email": ada.email, "password": PASSWORD});
    add_sessions(&app, ada.user(), "00000000").await;
    // Whoever comes to end the oldest session waits here, and so both are under way together.
    let mut hold = begin(&app).await;
    sqlx::query("select id from identity.sessions order by id limit 1 for update")
        .execute(&mut hold)
        .await
        .unwrap();
    let sign_in = || {
        let request = app.anonymous().post("/api/v1/auth/login", body.clone());
        tokio::spawn(async move { request.await })
    };
    let both = [sign_in(), sign_in()];
    until_waiting(&app, 2).await;
    end(&mut hold, "rollback").await;
    for answer in both {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(live(&app).await, 50);
    let kinds = kinds(&app, platform(&app).await).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "session.revoked").count(), 2);
}

#[tokio::test]
async fn sessions_are_deleted_30_days_after_they_ended_by_themselves_or_before() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let cyd = register(&app, "Cyd").await;
    ada.client(&app).request("POST", "/api/v1/auth/logout").await.expect(204);
    app.clock().advance(DAY * 29).await;
    let kept = refresh(&app, cyd.refresh()).await;
    let count = async || row_counts(&app).await["identity.sessions"];
    forget_sessions(&app).await;
    assert_eq!(count().await, 3, "Ada's ended less than 30 days ago");
    app.clock().advance(DAY * 2).await;
    forget_sessions(&app).await;
    assert_eq!(count().await, 2, "Bob's has expired a day ago");
    app.clock().advance(DAY * 27).await;
    let kept = refresh(&app, kept.expect(200).text_of("refreshToken")).await;
    app.clock().advance(DAY * 3).await;
    forget_sessions(&app).await;
    assert_eq!(count().await, 1);
    refresh(&app, bob.refresh()).await.problem("identity.session_ended", 401);
    refresh(&app, kept.expect(200).text_of("refreshToken")).await.expect(200);
}
