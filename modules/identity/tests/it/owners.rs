//! A tenant always has an owner, also when two leave at once.

use freehold_kernel::SystemRole;
use serde_json::json;

use crate::accounts::{dump, join, register, start};
use crate::members::{give, path_of};

#[tokio::test]
async fn the_last_owner_neither_leaves_nor_is_demoted() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let client = ada.client(&app);
    join(&app, ada.tenant(), &bob, SystemRole::Admin).await;
    let before = (dump(&app, "core.role_assignments").await, dump(&app, "core.memberships").await);
    let demoted = give(&client, ada.user(), json!([SystemRole::Admin.id()])).await;
    demoted.problem("identity.last_owner", 409);
    client.delete(&path_of(ada.user())).await.problem("identity.last_owner", 409);
    let after = (dump(&app, "core.role_assignments").await, dump(&app, "core.memberships").await);
    assert_eq!(after, before);
    give(&client, ada.user(), json!([SystemRole::Owner.id(), SystemRole::Agent.id()]))
        .await
        .expect(200);
    // With another owner there is nothing in the way.
    give(&client, bob.user(), json!([SystemRole::Owner.id()])).await.expect(200);
    give(&client, ada.user(), json!([SystemRole::Admin.id()])).await.expect(200);
}

#[tokio::test]
async fn of_two_owners_who_go_at_once_one_stays() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let other = join(&app, ada.tenant(), &bob, SystemRole::Owner).await;
    let client = ada.client(&app);
    let viewer = json!([SystemRole::Viewer.id()]);
    let owner = json!([SystemRole::Owner.id()]);
    for _ in 0..12 {
        let (one, two) = tokio::join!(
            give(&client, ada.user(), viewer.clone()),
            give(&other, bob.user(), viewer.clone()),
        );
        let (gone, stayed) = if one.status() == 200 { (one, two) } else { (two, one) };
        gone.expect(200);
        stayed.problem("identity.last_owner", 409);
        let (left, user) = if gone.json()["id"] == json!(ada.user()) {
            (&other, ada.user())
        } else {
            (&client, bob.user())
        };
        give(left, user, owner.clone()).await.expect(200);
    }
    let (one, two) = tokio::join!(async { client.delete(&path_of(ada.user())).await }, async {
        other.delete(&path_of(bob.user())).await
    },);
    let mut statuses = [one.status(), two.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
}
