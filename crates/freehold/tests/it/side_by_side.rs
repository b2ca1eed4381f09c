//! Two customers live at the same time on one installation, each with a word of its own in everything
//! that it can write. Nothing of the one shows in anything of the other's, and nothing of either in
//! what an operator's tools get.

mod installation;
mod limits;
mod tenant;
mod written;

use std::collections::BTreeSet;

use installation::Installation;
use tenant::{Party, Template};
use written::Row;

/// The tables that hold something of a person's whatever their tenants: who they are, where they are
/// signed in, and how often somebody failed to.
const GLOBAL: [&str; 2] = ["core.users", "identity.sessions"];

#[tokio::test(flavor = "multi_thread")]
async fn two_customers_at_once_see_nothing_of_each_other_and_no_tool_sees_either() {
    let installation = Installation::start().await;
    let (mut acme, mut umbrella) =
        tokio::join!(Party::register(&installation), Party::register(&installation));
    tokio::join!(acme.live(), umbrella.live());
    same_key_same_body(&acme, &umbrella).await;
    acme.look_at_everything(&installation).await;
    umbrella.look_at_everything(&installation).await;
    acme.look_at_what_is_not_there(&umbrella).await;
    umbrella.look_at_what_is_not_there(&acme).await;

    let rows = installation.written().await;
    assert_rows(&rows, &acme, &umbrella);
    assert_told(&acme, &umbrella).await;
    assert_told(&umbrella, &acme).await;
    let heard = installation.heard().await;
    let outside = installation.end().await;
    for party in [&acme, &umbrella] {
        for (what, text) in outside.iter().chain([&("NOTIFY", heard.clone())]) {
            // The log says by their ids which request it was and for which tenant; nothing else does.
            let marks = if *what == "log" { vec![party.word.clone()] } else { party.marks() };
            for mark in marks {
                let line = text.lines().find(|line| line.contains(&mark));
                assert!(line.is_none(), "{mark} is in the {what}: {}", line.unwrap_or_default());
            }
        }
    }
}

/// An `Idempotency-Key` is a tenant's own: the same key with the same body in both is two requests,
/// and each tenant's repetition gets the first answer of its own.
async fn same_key_same_body(acme: &Party, umbrella: &Party) {
    let mut ids = BTreeSet::new();
    for party in [acme, umbrella] {
        let first = party.make_key("the same for both").await;
        let again = party.make_key("the same for both").await;
        assert_eq!(first["id"], again["id"], "the answer is repeated");
        ids.insert(first["id"].to_string());
    }
    assert_eq!(ids.len(), 2, "one tenant got the other's answer");
}

/// Every row that was ever written, also where it is gone by now: events, outbox, jobs, deliveries.
fn assert_rows(rows: &[Row], acme: &Party, umbrella: &Party) {
    for (party, other) in [(acme, umbrella), (umbrella, acme)] {
        let own: Vec<&Row> =
            rows.iter().filter(|row| row.tenant.as_deref() == Some(party.uuid.as_str())).collect();
        let tables: BTreeSet<&str> = own.iter().map(|row| row.table.as_str()).collect();
        for table in ["core.events", "core.outbox", "core.jobs", "core.idempotency_keys"] {
            assert!(tables.contains(table), "no row of {table} among {tables:?}");
        }
        for table in ["webhooks.deliveries", "webhooks.attempts", "identity.api_keys"] {
            assert!(tables.contains(table), "no row of {table} among {tables:?}");
        }
        assert!(own.iter().any(|row| row.holds(&party.word)), "the words are looked for");
        for row in own {
            assert!(!row.holds(&other.word), "the other's word is in a row: {row:?}");
            assert!(!row.text.contains(&other.uuid), "the other's id is in a row: {row:?}");
        }
    }
    let without_tenant = rows.iter().filter(|row| row.tenant.is_none());
    for row in without_tenant {
        let both = [acme, umbrella].map(|party| row.holds(&party.word));
        assert!(both != [true, true], "one row tells of both: {row:?}");
        let is_expected = both == [false, false] || GLOBAL.contains(&row.table.as_str());
        assert!(is_expected, "a row without tenant holds a tenant's word: {row:?}");
    }
}

/// Every answer (status, headers, body, problem documents) and everything that arrived at the
/// tenant's receivers.
async fn assert_told(party: &Party, other: &Party) {
    let answers = party.answers();
    assert!(answers.len() > 60, "too little was asked: {}", answers.len());
    let arrived = party.arrived().await;
    assert!(arrived.len() >= 4, "too little arrived: {}", arrived.len());
    for (what, texts) in [("an answer", &answers), ("what arrived", &arrived)] {
        assert!(texts.iter().any(|text| text.contains(&party.word)), "its own word is in {what}");
        for text in texts {
            for mark in other.marks() {
                assert!(!text.contains(&mark), "{mark} of the other's is in {what}:\n{text}");
            }
        }
    }
}

#[test]
fn a_path_is_asked_with_the_ids_of_the_list_above_it() {
    let template = Template::parse("/api/v1/webhooks/{id}/deliveries/{delivery}");
    assert_eq!(template.list(), Some("/api/v1/webhooks"));
    let next = template.with("whk_1");
    assert_eq!(next.list(), Some("/api/v1/webhooks/whk_1/deliveries"));
    assert_eq!(next.with("del_1").list(), None);
}
