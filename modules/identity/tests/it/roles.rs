//! `GET /permissions` and `GET /roles`: what every tenant has.

use freehold_kernel::SystemRole;
use serde_json::{Value, json};

use crate::accounts::{join, register, start};

#[tokio::test]
async fn every_permission_is_listed_once_with_what_it_allows() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let answer = ada.client(&app).get("/api/v1/permissions").await;
    let listed = answer.expect(200).json()["data"].as_array().unwrap().clone();
    let names: Vec<&str> = listed.iter().filter_map(|one| one["name"].as_str()).collect();
    let operators_only = |roles: &[SystemRole]| roles == [SystemRole::Operator];
    let declared = app.kernel().permissions().iter();
    let offered: Vec<_> = declared.filter(|one| !operators_only(one.roles)).collect();
    assert_eq!(names, offered.iter().map(|one| one.name).collect::<Vec<_>>());
    assert!(names.is_sorted());
    for (permission, declared) in listed.iter().zip(offered) {
        let of_tenants = declared.roles.iter().filter(|role| **role != SystemRole::Operator);
        let holders: Vec<&str> = of_tenants.map(|role| role.name()).collect();
        assert_eq!(permission["systemRoles"], json!(holders), "{permission}");
        assert_eq!(permission["module"], "identity");
        assert!(permission["description"].as_str().is_some_and(|words| words.len() > 8));
    }
}

#[tokio::test]
async fn the_roles_are_listed_with_what_each_allows_and_operators_are_nobodys_business() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let answer = ada.client(&app).get("/api/v1/roles").await;
    let roles = answer.expect(200).json()["data"].as_array().unwrap().clone();
    let names: Vec<&Value> = roles.iter().map(|role| &role["name"]).collect();
    assert_eq!(names, ["Owner", "Admin", "Member", "Agent", "Viewer"]);
    for (role, listed) in SystemRole::ALL.into_iter().zip(&roles) {
        let allowed = app.kernel().permissions_of(&[role]);
        assert_eq!(listed["id"], json!(role.id()));
        assert_eq!(listed["system"], true);
        assert_eq!(listed["permissions"], json!(allowed.iter().collect::<Vec<_>>()));
        let one = ada.client(&app).get(&format!("/api/v1/roles/{}", role.id())).await;
        assert_eq!(one.expect(200).json(), listed, "one by one as in the list");
        assert_eq!(listed["userCount"], json!(i32::from(role == SystemRole::Owner)));
    }
    let operator = format!("/api/v1/roles/{}", SystemRole::Operator.id());
    ada.client(&app).get(&operator).await.problem("core.not_found", 404);
    // Everybody may look, whatever their role.
    for role in [SystemRole::Agent, SystemRole::Viewer] {
        let person = register(&app, role.name()).await;
        let client = join(&app, bob.tenant(), &person, role).await;
        client.get("/api/v1/roles").await.expect(200);
        client.get("/api/v1/permissions").await.expect(200);
    }
    app.anonymous().get("/api/v1/roles").await.problem("core.unauthenticated", 401);
}
