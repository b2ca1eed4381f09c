//! The audit log page by page: each record exactly once, and nobody else's ever.

use std::collections::BTreeSet;

use freehold_kernel::{SystemRole, TenantId};
use freehold_testkit::{Answer, TestApp};
use serde_json::{Value, json};

use crate::rows::{LOG, TENANT, count, fill_log, pages, start};

const EVENTS: i32 = 431;

fn records(pages: &[Answer]) -> Vec<Value> {
    let of = |page: &Answer| page.json()["data"].as_array().expect("a page").clone();
    pages.iter().flat_map(of).collect()
}

/// The numbers that [`fill_log`] gave its events.
fn numbers(records: &[Value]) -> Vec<i64> {
    records.iter().filter_map(|record| record["data"]["n"].as_i64()).collect()
}

#[tokio::test]
async fn pages_yield_every_record_exactly_once_newest_first() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    // Seven at each millisecond, so that pages end in the middle of one.
    fill_log(&app, acme.id, EVENTS, 7).await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    for limit in [1, 10, 50, 200] {
        let pages = pages(
            &client,
            &format!(
                "{LOG}?limit={limit}&action=thing.done{}",
                if limit == 1 { "&subject=subject_1&actor=actor_1" } else { "" }
            ),
        )
        .await;
        let records = records(&pages);
        let ids: BTreeSet<&str> =
            records.iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), records.len(), "none twice");
        let times: Vec<&str> =
            records.iter().map(|record| record["at"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|later, earlier| later >= earlier));
        let mut seen = numbers(&records);
        seen.sort_unstable();
        let wanted: Vec<i64> =
            (0..i64::from(EVENTS)).filter(|n| limit > 1 || (n % 3 == 1 && n % 5 == 1)).collect();
        assert_eq!(seen, wanted, "limit {limit}");
        for page in &pages[..pages.len() - 1] {
            assert_eq!(page.json()["data"].as_array().unwrap().len(), limit);
        }
    }
    let all = records(&pages(&client, &format!("{LOG}?limit=200")).await);
    assert_eq!(all.len(), usize::try_from(EVENTS).unwrap() + 1 + 4, "created, and four searches");
}

#[tokio::test]
async fn what_happens_while_one_reads_moves_nothing() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    fill_log(&app, acme.id, 60, 1).await;
    let client = app.principal(&acme).role(SystemRole::Owner);
    let mut seen = Vec::new();
    let mut path = format!("{LOG}?limit=25");
    loop {
        let page = client.get(&path).await;
        seen.extend(records(std::slice::from_ref(&page)));
        client.patch(TENANT, json!({"name": format!("Acme {}", seen.len())})).await.expect(200);
        let Some(cursor) = page.json()["nextCursor"].as_str() else { break };
        path = format!("{LOG}?limit=25&cursor={cursor}");
    }
    assert_eq!(seen.len(), 61);
    assert_eq!(numbers(&seen), (0..60).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    for tenant in [acme.id, other.id] {
        fill_log(&app, tenant, 30, 3).await;
    }
    let client = app.principal(&acme).role(SystemRole::Owner);
    let page = client.get(&format!("{LOG}?limit=5&action=thing.done")).await;
    let cursor = page.expect(200).text_of("nextCursor").to_owned();
    let reads = count(&app, acme.id, "audit.read").await;
    let ask = |query: String| client.get(&format!("{LOG}?{query}")).into_future();
    for query in [
        format!("cursor={cursor}"),
        format!("action=tenant.updated&cursor={cursor}"),
        format!("action=thing.done&actor=actor_1&cursor={cursor}"),
        format!("action=thing.done&cursor={}", &cursor[..cursor.len() - 1]),
        format!("action=thing.done&cursor={cursor}A"),
        format!("action=thing.done&cursor={}", "A".repeat(2000)),
    ] {
        ask(query).await.invalid("cursor");
    }
    let foreign = app.principal(&other).role(SystemRole::Owner);
    let asked = foreign.get(&format!("{LOG}?action=thing.done&cursor={cursor}")).await;
    asked.invalid("cursor");
    assert_eq!(count(&app, acme.id, "audit.read").await, reads);
    assert_eq!(count(&app, other.id, "audit.read").await, 0);
    for place in (0..cursor.len()).step_by(5) {
        let mut altered = cursor.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        ask(format!("action=thing.done&cursor={altered}")).await.invalid("cursor");
    }
    // Another page size, another person of the tenant: the same list.
    let person = app.member(&acme, SystemRole::Admin).await;
    let colleague = app.principal(&acme).user(person).role(SystemRole::Admin);
    let next = format!("{LOG}?limit=200&action=thing.done&cursor={cursor}");
    let next = colleague.get(&next).await;
    assert_eq!(next.expect(200).json()["data"].as_array().unwrap().len(), 25);
}

/// Everything a tenant can be shown, whatever it asks for.
async fn all_shown(app: &TestApp, tenant: &freehold_testkit::Tenant, other: TenantId) -> String {
    let client = app.principal(tenant).everything();
    let mut shown = String::new();
    for query in [
        "limit=200".to_owned(),
        "limit=7&action=thing.done".to_owned(),
        "limit=200&actor=actor_1".to_owned(),
        "limit=200&subject=subject_2".to_owned(),
        format!("limit=200&subject={other}"),
        "limit=200&since=2000-01-01T00:00:00Z".to_owned(),
    ] {
        for page in pages(&client, &format!("{LOG}?{query}")).await {
            let records = page.json()["data"].as_array().expect("a page").clone();
            // A search for the other tenant's id is recorded with that id; that is no leak.
            let foreign = records.iter().filter(|record| record["action"] != "audit.read");
            shown.extend(foreign.map(ToString::to_string));
        }
    }
    shown
}

#[tokio::test]
async fn two_tenants_with_hundreds_of_records_never_see_each_others() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    fill_log(&app, acme.id, 300, 7).await;
    fill_log(&app, other.id, 300, 5).await;
    let (seen, there) =
        tokio::join!(all_shown(&app, &acme, other.id), all_shown(&app, &other, acme.id));
    for (shown, own, foreign) in [(&seen, &acme, &other), (&there, &other, &acme)] {
        assert!(shown.contains(&own.id.uuid().to_string()));
        for told in
            [foreign.id.to_string(), foreign.id.uuid().to_string(), foreign.owner.to_string()]
        {
            assert!(!shown.contains(&told), "a record of the other tenant");
        }
    }
}
