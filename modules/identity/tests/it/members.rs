//! `GET /users`, `GET` and `PATCH /users/{id}`.

use freehold_kernel::{RoleId, SystemRole, UserId};
use freehold_testkit::Client;
use serde_json::{Value, json};

use crate::accounts::{dump, join, kinds, register, row_counts, start};
use crate::custom_roles::make;

const USERS: &str = "/api/v1/users";

/// Where a person of the tenant is found.
pub(crate) fn path_of(user: UserId) -> String {
    format!("{USERS}/{user}")
}

/// Gives a person exactly these roles.
pub(crate) async fn give(client: &Client, user: UserId, roles: Value) -> freehold_testkit::Answer {
    client.patch(&path_of(user), json!({"roleIds": roles})).await
}

#[tokio::test]
async fn the_people_of_a_tenant_are_listed_with_their_roles() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Viewer).await;
    let listed = member.get(USERS).await;
    let people = listed.expect(200).json()["data"].as_array().unwrap().clone();
    let names: Vec<&Value> = people.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Bob", "Ada"], "newest first");
    assert_eq!(people[0]["roleIds"], json!([SystemRole::Owner.id()]));
    assert_eq!(people[1]["roleIds"], json!([SystemRole::Viewer.id()]));
    assert_eq!(people[1]["email"], json!(ada.email));
    assert_eq!(member.get(&path_of(bob.user())).await.expect(200).json(), &people[0]);

    let by_role = format!("{USERS}?roleId={}", SystemRole::Viewer.id());
    assert_eq!(member.get(&by_role).await.expect(200).json()["data"], json!([people[1]]));
    member.get(&format!("{USERS}?roleId=nonsense")).await.expect(422);
    let first = member.get(&format!("{USERS}?limit=1")).await;
    let next = format!("{USERS}?limit=1&cursor={}", first.expect(200).text_of("nextCursor"));
    assert_eq!(member.get(&next).await.expect(200).json()["data"], json!([people[1]]));
}

#[tokio::test]
async fn a_person_gets_other_roles_and_it_is_recorded() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    join(&app, bob.tenant(), &ada, SystemRole::Viewer).await;
    let owner = bob.client(&app);
    let support = make(&owner, "Support", &["users:read"]).await;
    let support = support.expect(201).json()["id"].clone();
    let (viewer, member) = (json!(SystemRole::Viewer.id()), json!(SystemRole::Member.id()));
    let changed = give(&owner, ada.user(), json!([member, support, member])).await;
    assert_eq!(changed.expect(200).json()["roleIds"], json!([support, member]));
    let event = app.last_event(bob.tenant()).await;
    assert_eq!(event.kind, "user.role_changed");
    assert_eq!((event.subject, event.actor), (ada.user().to_string(), bob.user().to_string()));
    assert_eq!(event.data["roleIds"], json!([support, member]));
    assert_eq!(event.data["removed"], json!([viewer]));
    assert_eq!(event.data["added"], json!([support, member]));

    let before = kinds(&app, bob.tenant()).await;
    give(&owner, ada.user(), json!([support, member])).await.expect(200);
    let untouched = owner.patch(&path_of(ada.user()), json!({})).await;
    assert_eq!(untouched.expect(200).json(), changed.json());
    assert_eq!(kinds(&app, bob.tenant()).await, before, "nothing changed");
}

#[tokio::test]
async fn what_is_wrong_with_a_change_of_roles_is_named_and_nothing_is_kept() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let before = (row_counts(&app).await, dump(&app, "core.role_assignments").await);
    let owner = SystemRole::Owner.id();
    for (roles, pointer) in [
        (json!([]), "/roleIds"),
        (json!(vec![owner; 21]), "/roleIds"),
        (json!([owner, RoleId::new()]), "/roleIds/1"),
        (json!([owner, SystemRole::Operator.id()]), "/roleIds/1"),
        (json!([owner, ada.user()]), "/roleIds/1"),
    ] {
        give(&client, ada.user(), roles).await.invalid(pointer);
    }
    let patch = json!({"name": "Eve", "roleIds": [owner]});
    client.patch(&path_of(ada.user()), patch).await.invalid("/name");
    assert_eq!((row_counts(&app).await, dump(&app, "core.role_assignments").await), before);
}

#[tokio::test]
async fn people_of_another_tenant_are_not_there() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let client = ada.client(&app);
    let (there, kept) = (kinds(&app, bob.tenant()).await, dump(&app, "core.memberships").await);
    client.get(&path_of(bob.user())).await.problem("core.not_found", 404);
    let changed = give(&client, bob.user(), json!([SystemRole::Viewer.id()])).await;
    changed.problem("core.not_found", 404);
    client.delete(&path_of(bob.user())).await.problem("core.not_found", 404);
    let listed = client.get(USERS).await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(kinds(&app, bob.tenant()).await, there);
    assert_eq!(dump(&app, "core.memberships").await, kept);
}
