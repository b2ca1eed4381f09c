//! A sign-in with the earlier password while the password changes. What happens when is decided by
//! locks that the test holds, not by time.

use std::time::{Duration, Instant};

use freehold_testkit::{Answer, TestApp};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::accounts::{PASSWORD, begin, end, kinds, login, refresh, register, start};

const ME: &str = "/api/v1/auth/me";
const NEW: &str = "gorse-Lamp4-tundra";

fn sign_in(app: &TestApp, password: &str) -> JoinHandle<Answer> {
    let body = json!({"email": "ada@example.org", "password": password});
    let request = app.anonymous().post("/api/v1/auth/login", body);
    tokio::spawn(async move { request.await })
}

/// Waits until so many statements of the application wait for a lock.
pub(crate) async fn until_waiting(app: &TestApp, count: i64) {
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    let began = Instant::now();
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(app.sql()).await.unwrap() != count {
        assert!(began.elapsed() < Duration::from_secs(10), "{count} should wait for a lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_sign_in_that_was_checked_against_the_earlier_password_comes_too_late() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    // The change is under way: the earlier password is what everybody else still sees.
    let mut change = begin(&app).await;
    sqlx::query("update identity.passwords set hash = $1 where user_id = $2")
        .bind("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAA")
        .bind(*ada.user())
        .execute(&mut change)
        .await
        .unwrap();
    let late = sign_in(&app, PASSWORD);
    until_waiting(&app, 1).await;
    end(&mut change, "commit").await;
    late.await.unwrap().problem("identity.invalid_credentials", 401);
    let sessions = kinds(&app, ada.tenant()).await;
    assert_eq!(sessions.iter().filter(|kind| *kind == "session.created").count(), 1);
}

#[tokio::test]
async fn a_change_waits_for_the_sign_in_under_way_and_ends_its_session() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let wrong = json!({"email": ada.email, "password": "not-The-1-password"});
    login(&app, wrong).await.expect(401);
    // A sign-in that is right clears the failed try, and so stops here, with its password checked.
    let mut hold = begin(&app).await;
    let held = sqlx::query("select name from identity.failed_tries for update");
    assert_eq!(held.fetch_all(&mut hold).await.unwrap().len(), 1);
    let early = sign_in(&app, PASSWORD);
    until_waiting(&app, 1).await;
    let body: Value = json!({"currentPassword": PASSWORD, "newPassword": NEW});
    let request = ada.client(&app).post("/api/v1/auth/change-password", body);
    let change = tokio::spawn(async move { request.await });
    until_waiting(&app, 2).await;
    end(&mut hold, "rollback").await;
    change.await.unwrap().expect(200);
    let early = early.await.unwrap();
    let there = app.bearer(early.expect(200).text_of("accessToken"));
    there.get(ME).await.problem("identity.session_ended", 401);
    refresh(&app, early.text_of("refreshToken")).await.problem("identity.session_ended", 401);
}
