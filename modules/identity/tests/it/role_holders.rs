//! Roles that are held: removal refused with how many, and `POST /roles/{id}/reassign`.

use freehold_kernel::{RoleId, SystemRole};
use serde_json::json;

use crate::accounts::{dump, join, kinds, last, register, row_counts, start};
use crate::custom_roles::{make, path_of};
use crate::members::{self, give};

const ACCOUNTS: &str = "/api/v1/service-accounts";

#[tokio::test]
async fn a_role_in_use_stays_until_its_holders_are_moved() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let cyd = register(&app, "Cyd").await;
    for person in [&ada, &cyd] {
        join(&app, bob.tenant(), person, SystemRole::Viewer).await;
    }
    let owner = bob.client(&app);
    let support = make(&owner, "Support", &["roles:read"]).await;
    let (role, viewer) = (support.json()["id"].clone(), json!(SystemRole::Viewer.id()));
    give(&owner, ada.user(), json!([role])).await.expect(200);
    give(&owner, cyd.user(), json!([role, viewer])).await.expect(200);
    let body = json!({"name": "import", "roleIds": [viewer, role]});
    let account = owner.post(ACCOUNTS, body).await;
    let seen = owner.get(&path_of(&support)).await;
    let counts = (&seen.json()["userCount"], &seen.json()["serviceAccountCount"]);
    assert_eq!(counts, (&json!(2), &json!(1)));
    let before = (row_counts(&app).await, dump(&app, "core.role_assignments").await);
    let refused = owner.delete(&path_of(&support)).await;
    refused.problem("identity.role_in_use", 409);
    let detail = refused.text_of("detail");
    assert!(detail.contains("2 people and 1 service account;"), "{detail}");
    assert_eq!((row_counts(&app).await, dump(&app, "core.role_assignments").await), before);

    let reassign = format!("{}/reassign", path_of(&support));
    let moved = owner.post(&reassign, json!({"roleId": viewer})).await;
    assert_eq!(
        moved.expect(200).json(),
        &json!({"users": 2, "serviceAccounts": 1, "remaining": 0})
    );
    for person in [&ada, &cyd] {
        let now = owner.get(&members::path_of(person.user())).await;
        assert_eq!(now.json()["roleIds"], json!([viewer]));
    }
    assert_eq!(owner.get(ACCOUNTS).await.json()["data"][0]["roleIds"], json!([viewer]));
    let events = app.events(bob.tenant()).await;
    let of = |user: &crate::accounts::Account| {
        let subject = user.user().to_string();
        let found = events.iter().rfind(|event| event.subject == subject).expect("an event");
        assert_eq!(found.kind, "user.role_changed");
        found.data.clone()
    };
    assert_eq!((&of(&ada)["added"], &of(&ada)["removed"]), (&json!([viewer]), &json!([role])));
    assert_eq!((&of(&cyd)["added"], &of(&cyd)["removed"]), (&json!([]), &json!([role])));
    let program = last(&app, bob.tenant(), "serviceaccount.role_changed").await;
    assert_eq!(program.subject, account.text_of("id"));
    assert_eq!(program.data["roleIds"], json!([viewer]));
    owner.delete(&path_of(&support)).await.expect(204);
}

#[tokio::test]
async fn holders_are_moved_to_another_role_of_this_tenant_only() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let owner = ada.client(&app);
    let support = make(&owner, "Support", &[]).await;
    let theirs = make(&bob.client(&app), "Theirs", &[]).await;
    let before = kinds(&app, ada.tenant()).await;
    let reassign = format!("{}/reassign", path_of(&support));
    for target in [
        support.json()["id"].clone(),
        theirs.json()["id"].clone(),
        json!(SystemRole::Operator.id()),
        json!(ada.user()),
        json!("nonsense"),
    ] {
        owner.post(&reassign, json!({"roleId": target})).await.invalid("/roleId");
    }
    assert_eq!(kinds(&app, ada.tenant()).await, before);
}

#[tokio::test]
async fn a_role_that_very_many_hold_is_taken_from_them_500_at_a_time() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let owner = ada.client(&app);
    let role = make(&owner, "Crowd", &[]).await;
    for table in [
        "with u as (
           insert into core.users (id, email, email_normalised, name, created_at)
           select gen_random_uuid(), n || '@example.com', n || '@example.com', 'One of many', now()
           from generate_series(1, 700) as n returning id, email),
         m as (
           insert into core.memberships (tenant_id, user_id, email, name, created_at)
           select $1, id, email, 'One of many', now() from u returning user_id)
         insert into core.role_assignments (tenant_id, id, user_id, role_id)
         select $1, gen_random_uuid(), user_id, $2 from m",
        "insert into identity.service_accounts (tenant_id, id, name, role_ids, created_at)
         select $1, gen_random_uuid(), 'program ' || n, array[$2], now()
         from generate_series(1, 501) as n",
    ] {
        let id: RoleId = role.expect(201).text_of("id").parse().unwrap();
        sqlx::query(table).bind(*ada.tenant()).bind(*id).execute(app.sql()).await.unwrap();
    }
    let reassign = format!("{}/reassign", path_of(&role));
    let to = json!({"roleId": SystemRole::Viewer.id()});
    for (users, service_accounts, remaining) in [(500, 500, 201), (200, 1, 0), (0, 0, 0)] {
        let moved = owner.post(&reassign, &to).await;
        let wanted =
            json!({"users": users, "serviceAccounts": service_accounts, "remaining": remaining});
        assert_eq!(moved.expect(200).json(), &wanted);
    }
    let kinds = kinds(&app, ada.tenant()).await;
    let count = |wanted| kinds.iter().filter(|kind| *kind == wanted).count();
    assert_eq!((count("user.role_changed"), count("serviceaccount.role_changed")), (700, 501));
    owner.delete(&path_of(&role)).await.expect(204);
}

#[tokio::test]
async fn a_role_is_never_removed_from_under_somebody_who_is_given_it() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    join(&app, bob.tenant(), &ada, SystemRole::Viewer).await;
    let owner = bob.client(&app);
    for round in 0..12 {
        let role = make(&owner, &format!("Role {round}"), &[]).await;
        let (path, roles) = (path_of(&role), json!([role.json()["id"], SystemRole::Viewer.id()]));
        let account = json!({"name": format!("import {round}"), "roleIds": roles});
        let (removed, given, made) = tokio::join!(
            async { owner.delete(&path).await },
            give(&owner, ada.user(), roles.clone()),
            async { owner.post(ACCOUNTS, account).await },
        );
        if removed.status() == 204 {
            given.invalid("/roleIds/0");
            made.invalid("/roleIds/0");
        } else {
            removed.problem("identity.role_in_use", 409);
            assert!(given.status() == 200 || made.status() == 201, "{given}{made}");
        }
    }
    let dangling: i64 = sqlx::query_scalar(
        "select count(*) from (
           select tenant_id, role_id from core.role_assignments
           union all select tenant_id, unnest(role_ids) from identity.service_accounts
         ) as held
         where role_id::text not like '66726565-%'
           and not exists (select from identity.roles r where r.id = held.role_id)",
    )
    .fetch_one(app.sql())
    .await
    .unwrap();
    assert_eq!(dangling, 0);
}
