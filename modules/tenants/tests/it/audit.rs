//! `GET /audit-logs`: records, filters, and who may look.

use std::time::Duration;

use freehold_kernel::{SystemRole, Timestamp};
use freehold_testkit::{Client, Tenant, TestApp};
use serde_json::{Value, json};

use crate::rows::{LOG, TENANT, count, start};

/// A log of three changes, each an hour after the one before, by three people.
async fn history(app: &TestApp) -> (Tenant, Vec<String>, Vec<Timestamp>) {
    let acme = app.tenant("Acme").await;
    let (mut people, mut times) = (Vec::new(), Vec::new());
    for number in 0..3 {
        app.clock().advance(Duration::from_secs(3600)).await;
        let person = app.member(&acme, SystemRole::Admin).await;
        let client = app.principal(&acme).user(person).role(SystemRole::Admin);
        client.patch(TENANT, json!({"name": format!("Acme {number}")})).await.expect(200);
        people.push(person.to_string());
        let event = app.last_event(&acme).await;
        times.push(event.at);
    }
    (acme, people, times)
}

/// The actors of the records that a search finds, oldest first.
async fn actors(client: &Client, query: &str) -> Vec<String> {
    let answer = client.get(&format!("{LOG}?{query}")).await;
    let records = answer.expect(200).json()["data"].as_array().expect("a page").clone();
    let of = |record: &Value| record["actor"].as_str().expect("an actor").to_owned();
    records.iter().rev().map(of).collect()
}

#[tokio::test]
async fn a_record_says_who_did_what_to_which_thing_when_and_from_where() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let patch = client.patch(TENANT, json!({"name": "Acme 2"})).header("user-agent", "Engine/1");
    let changed = patch.header("x-request-id", "request-1").await;
    changed.expect(200);
    let answer = client.get(LOG).await;
    let [updated, created] = &answer.expect(200).json()["data"].as_array().unwrap()[..] else {
        panic!("{answer}")
    };
    let stored = app.events(&acme).await;
    assert_eq!(updated["action"], "tenant.updated");
    assert!(updated["id"].as_str().unwrap().starts_with("evt_"));
    assert_eq!(updated["at"], json!(stored[1].at));
    assert_eq!(updated["actor"], json!(acme.owner));
    assert_eq!(updated["subject"], json!(acme.id));
    assert_eq!(updated["onBehalfOf"], Value::Null);
    assert_eq!(updated["requestId"], "request-1");
    assert_eq!(updated["data"]["name"], "Acme 2");
    assert_eq!(updated["personal"]["ip"], "127.0.0.1");
    assert_eq!(updated["personal"]["userAgent"], "Engine/1");
    assert_eq!(updated["personal"]["before"]["name"], "Acme");
    assert_eq!(updated["personal"]["after"]["name"], "Acme 2");
    assert_eq!(
        (&created["action"], &created["actor"]),
        (&json!("tenant.created"), &json!("system"))
    );
    assert_eq!(answer.json()["nextCursor"], Value::Null);
    let names: Vec<&String> = updated.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 9, "{names:?}");
}

#[tokio::test]
async fn each_filter_finds_what_it_is_for() {
    let app = start().await;
    let (acme, people, times) = history(&app).await;
    let client = app.principal(&acme).role(SystemRole::Admin);
    assert_eq!(actors(&client, "action=tenant.updated").await, people);
    assert_eq!(actors(&client, "action=tenant.created").await, ["system"]);
    assert_eq!(actors(&client, &format!("actor={}", people[1])).await, people[1..2]);
    let subject = format!("subject={}&action=tenant.updated", acme.id);
    assert_eq!(actors(&client, &subject).await, people);
    let of = |query: String| format!("action=tenant.updated&{query}");
    assert_eq!(actors(&client, &of(format!("since={}", times[1]))).await, people[1..]);
    assert_eq!(actors(&client, &of(format!("until={}", times[1]))).await, people[..1]);
    let between = format!("since={}&until={}", times[1], times[2]);
    assert_eq!(actors(&client, &of(between)).await, people[1..2]);
    let backwards = format!("since={}&until={}", times[2], times[1]);
    for nothing in [of(backwards), "actor=nobody".to_owned(), "action=tenant".to_owned()] {
        assert_eq!(actors(&client, &nothing).await, [] as [&str; 0]);
    }
    let offset = times[1].to_string().replace('Z', "%2B00:00");
    assert_eq!(actors(&client, &of(format!("since={offset}"))).await, people[1..]);
}

#[tokio::test]
async fn what_is_wrong_with_a_search_is_named_and_it_is_not_recorded() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    for (query, parameter) in [
        ("since=yesterday", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("until=1", "until"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("cursor=abc", "cursor"),
        ("cursor=", "cursor"),
        ("tenantId=ten_01jz8q6k3mf1g8tvkh4z6c9x2b", "tenantId"),
        ("source=custom", "source"),
        ("actor=a%00b", "actor"),
    ] {
        let answer = client.get(&format!("{LOG}?{query}")).await;
        answer.expect(422);
        let named: Vec<&str> = answer.pointers().collect();
        assert!(named == [parameter] || named == [""], "{query}: {named:?}");
    }
    client.get(&format!("{LOG}?actor=a&actor=b")).await.expect(422);
    assert_eq!(count(&app, acme.id, "audit.read").await, 0);
}

#[tokio::test]
async fn a_moment_no_calendar_here_knows_is_no_failure() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    for moment in [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "-4800-01-01T00:00:00Z",
        "-262000-01-01T00:00:00Z",
        "%2B262000-01-01T00:00:00Z",
        "2026-06-30T23:59:60Z",
    ] {
        for name in ["since", "until"] {
            let answer = client.get(&format!("{LOG}?{name}={moment}")).await;
            assert!([200, 422].contains(&answer.status()), "{answer}");
        }
    }
}

#[tokio::test]
async fn only_the_first_page_of_a_search_is_recorded_and_by_whom() {
    let app = start().await;
    let (acme, people, _) = history(&app).await;
    let client = app.principal(&acme).user(people[0].parse().unwrap()).role(SystemRole::Admin);
    let first = client.get(&format!("{LOG}?limit=1&action=tenant.updated")).await;
    let cursor = first.expect(200).text_of("nextCursor");
    let second = format!("{LOG}?limit=1&action=tenant.updated&cursor={cursor}");
    client.get(&second).await.expect(200);
    assert_eq!(count(&app, acme.id, "audit.read").await, 1);
    let event = app.last_event(&acme).await;
    assert_eq!((&event.kind, &event.actor), (&"audit.read".to_owned(), &people[0]));
    assert_eq!(event.subject, acme.id.to_string());
    assert_eq!(event.data["tenantId"], json!(acme.id));
    assert_eq!(event.data["filter"]["action"], "tenant.updated");
    assert_eq!(event.data["filter"]["actor"], Value::Null);
    assert_eq!(app.opened(&event).await["ip"], "127.0.0.1");
    let read = client.get(&format!("{LOG}?action=audit.read")).await;
    assert_eq!(read.expect(200).json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(count(&app, acme.id, "audit.read").await, 2);
}

#[tokio::test]
async fn only_owners_and_admins_read_the_log() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    for role in [SystemRole::Member, SystemRole::Agent, SystemRole::Viewer] {
        let answer = app.principal(&acme).role(role).get(LOG).await;
        answer.problem("core.permission_missing", 403);
    }
    app.anonymous().get(LOG).await.problem("core.unauthenticated", 401);
    let nowhere = app.principal(&acme).without_tenant().with(&["audit:read"]).get(LOG).await;
    nowhere.problem("core.no_tenant", 403);
    assert_eq!(count(&app, acme.id, "audit.read").await, 0);
    for role in [SystemRole::Owner, SystemRole::Admin] {
        app.principal(&acme).role(role).get(LOG).await.expect(200);
    }
}

#[tokio::test]
async fn what_customers_send_themselves_is_not_in_the_log() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    sqlx::query(
        "insert into core.events (tenant_id, id, at, source, type, actor, subject, data, digest)
         values ($1, gen_random_uuid(), now(), 'custom', 'order.paid', 'x', 'y', '{}', '')",
    )
    .bind(*acme.id)
    .execute(app.sql())
    .await
    .unwrap();
    let client = app.principal(&acme).role(SystemRole::Owner);
    assert_eq!(actors(&client, "limit=200").await, ["system"]);
    assert_eq!(actors(&client, "action=order.paid").await, [] as [&str; 0]);
}
