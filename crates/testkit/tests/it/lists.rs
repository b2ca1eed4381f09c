//! Lists: pages that miss nothing, cursors that are good for one list only.

use freehold_testkit::{Client, TestApp};
use serde_json::json;

use crate::fixture;

const THINGS: &str = "/api/v1/things";

async fn make(client: &Client, names: &[&str]) {
    for name in names {
        client.post(THINGS, json!({"name": name})).await.expect(201);
    }
}

#[tokio::test]
async fn pages_hold_everything_once_the_newest_first() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    make(&owner, &["a", "b", "c", "d", "e"]).await;
    let (mut seen, mut path, mut pages) = (Vec::new(), format!("{THINGS}?limit=2"), 0);
    loop {
        let page = owner.get(&path).await;
        let things = page.expect(200).json()["data"].as_array().unwrap();
        seen.extend(things.iter().map(|thing| thing["name"].as_str().unwrap().to_owned()));
        pages += 1;
        // Made while somebody pages: it belongs before the page they are on.
        make(&owner, &[&format!("later {pages}")]).await;
        match page.json()["nextCursor"].as_str() {
            Some(cursor) => path = format!("{THINGS}?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((seen.concat().as_str(), pages), ("edcba", 3));
}

#[tokio::test]
async fn a_cursor_is_good_for_its_tenant_its_list_and_its_filter_only() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let owner = app.principal(&acme).everything();
    let stranger = app.principal(&other).everything();
    make(&owner, &["a", "b", "c"]).await;
    make(&stranger, &["a", "b", "c"]).await;
    let page = owner.get(&format!("{THINGS}?limit=1")).await;
    let cursor = page.expect(200).text_of("nextCursor");
    owner.get(&format!("{THINGS}?cursor={cursor}")).await.expect(200);
    stranger.get(&format!("{THINGS}?cursor={cursor}")).await.invalid("cursor");
    owner.get(&format!("{THINGS}/recent?cursor={cursor}")).await.invalid("cursor");
    owner.get(&format!("{THINGS}?name=a&cursor={cursor}")).await.invalid("cursor");
    let mut altered = cursor.to_owned().into_bytes();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    owner.get(&format!("{THINGS}?cursor={altered}")).await.invalid("cursor");
}
