//! The sweep of all routes finds what it is there to find: a module in which every route lets one
//! tenant reach another in a way of its own.

use freehold_kernel::{
    Error, Id, Json, Module, Named, Path, Result, Routes, SystemRole, Tx, endpoint,
};
use freehold_proof::routes;
use freehold_testkit::TestApp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::isolation::cast;
use crate::life::modules;

/// What the application's role may not do, done by the superuser.
const PAST_ALL_SECURITY: &str = "
create function public.words_of_all() returns setof text language sql security definer
  as 'select description from webhooks.endpoints order by created_at';
create function public.words_of(uuid) returns setof text language sql security definer
  as 'select ''something'' from webhooks.endpoints where id = $1';
create function public.switch_off(uuid) returns setof text language sql security definer
  as 'update webhooks.endpoints set is_active = not is_active where id = $1 returning ''done''';";

fn module() -> Module {
    let routes = Routes::at("/api/v1/leaks")
        .get("/", "leaks:read", list)
        .get("/{id}", "leaks:read", read)
        .get("/{id}/owner", "leaks:read", owner)
        .delete("/{id}", "leaks:delete", switch_off)
        .get("/{id}/broken", "leaks:read", broken);
    Module::new("leaks")
        .resource("leak", "leaks")
        .permission("leaks:read", "Read too much", &[SystemRole::Owner, SystemRole::Viewer])
        .permission("leaks:delete", "Write too much", &[SystemRole::Owner])
        .routes(routes)
}

/// Somebody's webhook.
enum Leak {}

impl Named for Leak {
    const PREFIX: &'static str = "whk";
}

/// What comes through.
#[derive(Serialize, ToSchema)]
#[schema(as = leaks::Words)]
struct Words {
    /// Somebody's words.
    #[schema(example = "CRM sync")]
    words: Vec<String>,
}

async fn ask(tx: &mut Tx, sql: &'static str, id: Option<Id<Leak>>) -> Result<Vec<String>> {
    let query = sqlx::query_scalar(sql);
    let query = if let Some(id) = id { query.bind(*id) } else { query };
    Ok(query.fetch_all(tx.db()).await?)
}

/// Everybody's words.
#[endpoint]
async fn list(mut tx: Tx) -> Result<Json<Words>> {
    Ok(Json(Words { words: ask(&mut tx, "select public.words_of_all()", None).await? }))
}

/// Anybody's thing.
#[endpoint]
async fn read(Path(id): Path<Id<Leak>>, mut tx: Tx) -> Result<Json<Words>> {
    match ask(&mut tx, "select public.words_of($1)", Some(id)).await? {
        words if words.is_empty() => Err(Error::not_found()),
        words => Ok(Json(Words { words })),
    }
}

/// Refuses, and tells by it that there is something.
#[endpoint("leaks.not_yours")]
async fn owner(Path(id): Path<Id<Leak>>, mut tx: Tx) -> Result<Json<Words>> {
    match ask(&mut tx, "select public.words_of($1)", Some(id)).await? {
        words if words.is_empty() => Err(Error::not_found()),
        _ => Err(Error::forbidden("leaks.not_yours", "This is somebody else's.")),
    }
}

/// Changes anybody's thing, and says that there is none.
#[endpoint]
async fn switch_off(Path(id): Path<Id<Leak>>, mut tx: Tx) -> Result<Json<Words>> {
    Ok(Json(Words { words: ask(&mut tx, "select public.switch_off($1)", Some(id)).await? }))
}

/// Fails.
#[endpoint]
async fn broken(Path(id): Path<Id<Leak>>, mut tx: Tx) -> Result<Json<Words>> {
    ask(&mut tx, "select public.words_of($1) where 1 / (1 - 1) = 1", Some(id)).await?;
    Err(Error::not_found())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_which_a_route_leaks_is_found() {
    let app = TestApp::start(modules().into_iter().chain([module()])).await;
    sqlx::raw_sql(PAST_ALL_SECURITY).execute(app.sql()).await.unwrap();
    let mut cast = cast(&app).await;
    cast.modules = vec!["leaks".to_owned()];
    let report = Box::pin(routes::sweep(&app.subject(), &cast)).await.unwrap();
    for words in [
        "GET /api/v1/leaks by the kind of principal `viewer`, with the header Prefer: the answer \
         (200) shows ",
        "which is planted in webhooks.endpoints.description of the other tenant",
        "GET /api/v1/leaks/{id} by the kind of principal `owner`, with {id} of the path, of the \
         right kind: it is answered 200 although it names a thing of the other tenant",
        "GET /api/v1/leaks/{id}/owner by the kind of principal `API key`, with {id} of the path, \
         of the right kind: the answer is not that for a thing that does not exist",
        "GET /api/v1/leaks/{id}/broken by the kind of principal `owner`, with {id} of the path, of \
         the right kind: it fails with 500",
        "the rows of the other tenant in webhooks.endpoints are not what they were",
    ] {
        assert!(
            report.findings.iter().any(|finding| finding.contains(words)),
            "nothing says {words:?}; this is all there is:\n{}",
            report.findings.join("\n")
        );
    }
    for powerless in ["anonymous", "expired token", "wrong audience"] {
        let name = format!("`{powerless}`");
        assert!(!report.findings.iter().any(|finding| finding.contains(&name)), "{name} got in");
    }
}
