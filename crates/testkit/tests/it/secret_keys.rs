//! The secret key may change: everything opens all the while, and afterwards without the old one.

use std::time::Duration;

use freehold_kernel::crypto::sha256;
use freehold_testkit::{RecordedEvent, Tenant, TestApp, TestAppBuilder};
use serde_json::json;

use crate::due::tick;
use crate::months::{self, gaps, live_in_2015};
use crate::stream::{count, run, within};

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];
const RESEAL: &str = "core.reseal";
const KEYS_IN_USE: &str = "select count(*) from core.secret_keys";

fn with(secret: [u8; 32], previous: &[[u8; 32]]) -> TestAppBuilder {
    let previous: Vec<Vec<u8>> = previous.iter().map(|key| key.to_vec()).collect();
    TestApp::with([months::module()]).config(move |config| {
        config.secret_key = secret.to_vec();
        config.secret_key_previous = previous;
    })
}

/// An event with a personal field, whose key is that of the tenant's owner.
async fn event(app: &TestApp, tenant: &Tenant) -> RecordedEvent {
    let owner = app.principal(tenant).everything();
    owner.post("/api/v1/things", json!({"name": "x", "note": "hidden"})).await.expect(201);
    app.last_event(tenant).await
}

/// Keys of that many people, sealed as the kernel seals them.
async fn people(app: &TestApp, tenant: &Tenant, number: usize) {
    let subjects: Vec<String> = (0..number).map(|n| format!("person {n}")).collect();
    let seal = |subject: &String| {
        let place = sha256(&[b"core.subject_keys", tenant.id.as_bytes(), subject.as_bytes()]);
        app.kernel().keyring().seal("subject key", &place, &[7; 32]).unwrap()
    };
    sqlx::query(
        "insert into core.subject_keys (tenant_id, subject, sealed_key, created_at)
         select $1, subject, sealed_key, now() from unnest($2::text[], $3::bytea[]) as s (subject, sealed_key)",
    )
    .bind(*tenant.id)
    .bind(&subjects)
    .bind(subjects.iter().map(seal).collect::<Vec<_>>())
    .execute(app.sql())
    .await
    .unwrap();
}

/// How many keys of people each secret key seals.
async fn seals(app: &TestApp) -> Vec<i64> {
    sqlx::query_scalar(
        "select count(*) from core.subject_keys group by substring(sealed_key for 4) order by 1",
    )
    .fetch_all(app.sql())
    .await
    .unwrap()
}

async fn refusal(app: TestAppBuilder) -> String {
    match app.try_start().await {
        Ok(_) => panic!("this application must not start"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn after_a_change_of_the_secret_key_everything_opens_and_then_the_old_key_may_go() {
    let old = with(OLD, &[]).start().await;
    let acme = old.tenant("Acme").await;
    let event = event(&old, &acme).await;
    live_in_2015(&old, &acme, &["one"]).await;
    tick(&old, "core.drop_months").await;
    people(&old, &acme, 2300).await;
    old.stop().await;

    let both = with(NEW, &[OLD]).beside(&old).start().await;
    assert_eq!(both.opened(&event).await["secretNote"], "hidden");
    assert_eq!(gaps(&both.principal(&acme).everything()).await[0]["holds"], true);
    assert_eq!(count(&both, KEYS_IN_USE).await, 2);
    tick(&both, RESEAL).await;
    assert_eq!(seals(&both).await, [2301]);
    assert_eq!(count(&both, KEYS_IN_USE).await, 1);
    both.stop().await;

    let new = with(NEW, &[]).beside(&old).start().await;
    assert_eq!(new.opened(&event).await["secretNote"], "hidden");
    assert_eq!(gaps(&new.principal(&acme).everything()).await[0]["holds"], true);
    let said = refusal(with(OLD, &[]).beside(&old)).await;
    assert!(said.contains("sealed under another secret key"), "{said}");
}

#[tokio::test]
async fn without_a_key_that_is_still_needed_nothing_starts() {
    let old = with(OLD, &[]).start().await;
    let acme = old.tenant("Acme").await;
    let event = event(&old, &acme).await;
    old.stop().await;
    let said = refusal(with(NEW, &[]).beside(&old)).await;
    assert!(said.contains("sealed under another secret key"), "{said}");
    assert!(said.contains("FREEHOLD_SECRET_KEY_PREVIOUS"), "{said}");
    assert_eq!(count(&old, KEYS_IN_USE).await, 1, "a key that was refused is not in use");
    let both = with(NEW, &[OLD]).beside(&old).start().await;
    assert_eq!(both.opened(&event).await["secretNote"], "hidden");
}

#[tokio::test]
async fn an_answer_that_is_kept_for_a_day_keeps_the_old_key_for_a_day() {
    let old = with(OLD, &[]).start().await;
    let acme = old.tenant("Acme").await;
    let owner = old.principal(&acme).everything();
    let key = ("idempotency-key", "once");
    owner.post("/api/v1/things", json!({"name": "x"})).header(key.0, key.1).await.expect(201);
    old.stop().await;
    let both = with(NEW, &[OLD]).beside(&old).start().await;
    tick(&both, RESEAL).await;
    assert_eq!(count(&both, KEYS_IN_USE).await, 2);
    let owner = both.principal(&acme).everything();
    let again = owner.post("/api/v1/things", json!({"name": "x"})).header(key.0, key.1).await;
    assert_eq!(again.expect(201).header("idempotency-replayed"), "true");
    both.clock().advance(Duration::from_secs(25 * 60 * 60)).await;
    tick(&both, "core.forget_idempotency_keys").await;
    tick(&both, RESEAL).await;
    assert_eq!(count(&both, KEYS_IN_USE).await, 1);
}

#[tokio::test]
async fn what_was_tampered_with_is_left_alone_and_keeps_nothing_else_from_its_new_key() {
    let old = with(OLD, &[]).start().await;
    let acme = old.tenant("Acme").await;
    people(&old, &acme, 3).await;
    live_in_2015(&old, &acme, &["one"]).await;
    tick(&old, "core.drop_months").await;
    run(
        &old,
        "update core.subject_keys set sealed_key = sealed_key || '!' where subject = 'person 1';
         update core.event_gaps set events = 2",
    )
    .await;
    let all = seals(&old).await[0];
    old.stop().await;
    let both = with(NEW, &[OLD]).beside(&old).start().await;
    tick(&both, RESEAL).await;
    assert_eq!(seals(&both).await, [1, all - 1]);
    assert_eq!(count(&both, KEYS_IN_USE).await, 2, "what is left may be repaired");
    assert_eq!(gaps(&both.principal(&acme).everything()).await[0]["holds"], false);
}

#[tokio::test]
async fn a_node_that_still_uses_the_old_key_seals_nothing_back() {
    let old = with(OLD, &[NEW]).start().await;
    let acme = old.tenant("Acme").await;
    people(&old, &acme, 5).await;
    let new = with(NEW, &[OLD]).beside(&old).start().await;
    let new_id = sqlx::query_scalar::<_, Vec<u8>>(
        "select id from core.secret_keys order by started_at desc limit 1",
    );
    let new_id = new_id.fetch_one(new.sql()).await.unwrap();
    let sealed_back =
        "select count(*) from core.subject_keys where substring(sealed_key for 4) <> $1";
    // Either node may be the one that ticks.
    within(Duration::from_secs(20), "all is sealed anew", async || {
        tick(&new, RESEAL).await;
        let left = sqlx::query_scalar::<_, i64>(sealed_back).bind(&new_id);
        (left.fetch_one(new.sql()).await.unwrap() == 0).then_some(())
    })
    .await;
    new.stop().await;
    for _ in 0..2 {
        tick(&old, RESEAL).await;
        let left = sqlx::query_scalar::<_, i64>(sealed_back).bind(&new_id);
        assert_eq!(left.fetch_one(old.sql()).await.unwrap(), 0);
    }
    // What it seals itself meanwhile is found all the same, and so is the key it used.
    let late = old.tenant("Late").await;
    people(&old, &late, 1).await;
    old.stop().await;
    let new = with(NEW, &[OLD]).beside(&old).start().await;
    tick(&new, RESEAL).await;
    assert_eq!(seals(&new).await.len(), 1);
    assert_eq!(count(&new, KEYS_IN_USE).await, 1);
}
