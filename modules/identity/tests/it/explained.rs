//! A refusal says which permission was missing, and which roles of the tenant would give it.

use freehold_kernel::SystemRole;
use serde_json::json;

use crate::accounts::{join, register, start};
use crate::custom_roles::{make, path_of};

#[tokio::test]
async fn a_refusal_names_the_permission_and_every_role_that_would_give_it() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let owner = bob.client(&app);
    let viewer = join(&app, bob.tenant(), &ada, SystemRole::Viewer).await;
    let ask = || viewer.get("/api/v1/service-accounts");
    let plain = ask().await;
    plain.problem("core.permission_missing", 403);
    let sentence = "This needs the permission service-accounts:read; it comes with: ";
    assert_eq!(plain.text_of("detail"), format!("{sentence}Owner, Admin."));
    let support = make(&owner, "Support lead", &["service-accounts:read", "roles:read"]).await;
    make(&owner, "Something else", &["roles:read"]).await.expect(201);
    // Roles of another tenant are nobody's business.
    make(&ada.client(&app), "Elsewhere", &["service-accounts:read"]).await.expect(201);
    let told = ask().await;
    told.problem("core.permission_missing", 403);
    assert_eq!(told.text_of("detail"), format!("{sentence}Owner, Admin, Support lead."));
    owner.patch(&path_of(&support), json!({"permissions": []})).await.expect(200);
    assert_eq!(ask().await.text_of("detail"), format!("{sentence}Owner, Admin."));
    let body = json!({"name": "x", "roleIds": [SystemRole::Viewer.id()]});
    let written = viewer.post("/api/v1/service-accounts", body).await;
    assert!(written.problem("core.permission_missing", 403).text_of("detail").contains(":write;"));
}
