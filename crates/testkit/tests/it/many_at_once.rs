//! Many tenants on few connections, with cancels and panics: nobody ever sees a wrong row.

use freehold_testkit::{Client, TestApp};
use futures_util::future::{join_all, select};
use serde_json::json;

use crate::fixture;

const TASKS: usize = 64;
const ROUNDS: usize = 6;
const THINGS: &str = "/api/v1/things";

/// One task: makes, breaks, cancels, and looks at what its tenant has.
async fn work(client: Client, tenant: &'static str, task: usize) {
    for round in 0..ROUNDS {
        let name = format!("{tenant} {task} {round}");
        let body = json!({"name": name});
        match (task + round) % 4 {
            0 => {
                client.post(THINGS, &body).await.expect(201);
            }
            1 => {
                let broken = client.post("/api/v1/things/broken", &body).expecting_failure();
                broken.await.expect(500);
            }
            2 => {
                // Whichever comes first; when it is the look, the client of the other hangs up.
                let make = client.post(THINGS, &body).into_future();
                let look = client.get("/api/v1/things?limit=1").into_future();
                drop(select(make, look).await);
            }
            _ => {}
        }
        let page = client.get("/api/v1/things?limit=200").await;
        for thing in page.expect(200).json()["data"].as_array().unwrap() {
            let name = thing["name"].as_str().unwrap();
            assert!(name.starts_with(tenant), "{tenant} sees {name}");
        }
    }
}

#[tokio::test]
async fn tenants_that_share_few_connections_never_see_each_other() {
    let app =
        TestApp::with([fixture::module()]).config(|config| config.pool_size = 3).start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let clients = [
        (app.principal(&acme).everything(), "acme"),
        (app.principal(&other).everything(), "other"),
    ];
    join_all((0..TASKS).map(|task| {
        let (client, tenant) = clients[task % 2].clone();
        work(client, tenant, task)
    }))
    .await;
    let wrong: i64 = sqlx::query_scalar(
        "select count(*) from fixture.things t join core.tenants n using (tenant_id)
         where t.name not like n.slug || ' %'",
    )
    .fetch_one(app.sql())
    .await
    .unwrap();
    assert_eq!(wrong, 0);
    let untold: i64 = sqlx::query_scalar(
        "select count(*) from fixture.things t full join
           (select * from core.events where type = 'thing.created') e
           on e.tenant_id = t.tenant_id and e.data ->> 'name' = t.name
         where e.id is null or t.id is null",
    )
    .fetch_one(app.sql())
    .await
    .unwrap();
    assert_eq!(untold, 0, "each thing has its event, and each event its thing");
}
