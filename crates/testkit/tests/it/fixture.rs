//! A small module with everything a real one has: `things`, their routes and their events.

use freehold_kernel::{
    Created, Error, Event, Id, IfMatch, Json, List, Module, Named, NoContent, OnConstraint, Page,
    Patch, Path, Result, Routes, State, SystemRole, Timestamp, Tx, WithEtag, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::migrate::Migrator;
use utoipa::ToSchema;

use crate::gate::Gate;

static MIGRATIONS: Migrator = sqlx::migrate!("tests/it/migrations");

const EVERYBODY: &[SystemRole] = &[SystemRole::Owner, SystemRole::Admin, SystemRole::Viewer];
const OWNERS: &[SystemRole] = &[SystemRole::Owner];

pub(crate) fn module() -> Module {
    gated(&Gate::default())
}

/// With a gate in the hands of the test, behind which the handler of `/slow` waits.
pub(crate) fn gated(gate: &Gate) -> Module {
    Module::new("fixture")
        .migrations(&MIGRATIONS)
        .resource("thing", "things")
        .id::<Thing>()
        .permission("things:read", "See things", EVERYBODY)
        .permission("things:write", "Make and change things", OWNERS)
        .permission("things:delete", "Remove things", OWNERS)
        .routes(routes())
        .publishes::<ThingCreated>()
        .publishes::<ThingChanged>()
        .publishes::<ThingDeleted>()
        .state(gate.clone())
}

fn routes() -> Routes {
    Routes::at("/api/v1/things")
        .get("/", "things:read", list)
        .post("/", "things:write", create)
        .get("/recent", "things:read", recent)
        .post("/slow", "things:write", create_slowly)
        .post("/broken", "things:write", create_and_panic)
        .get("/{id}", "things:read", read)
        .patch("/{id}", "things:write", change)
        .delete("/{id}", "things:delete", delete)
}

pub(crate) type ThingId = Id<Thing>;

impl Named for Thing {
    const PREFIX: &'static str = "thg";
}

/// A thing.
#[derive(Serialize, ToSchema, FromRow)]
#[serde(rename_all = "camelCase")]
#[schema(as = fixture::Thing)]
pub(crate) struct Thing {
    /// Its id.
    id: ThingId,
    /// What it is called.
    name: String,
    /// What is worth knowing.
    note: Option<String>,
    /// The thing it belongs to.
    parent_id: Option<ThingId>,
    /// Counts changes; the ETag.
    version: i64,
    /// When it was made.
    created_at: Timestamp,
}

/// What a new thing needs.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = fixture::NewThing)]
struct NewThing {
    /// What it is called; no two are called the same.
    #[garde(length(chars, min = 1, max = 80))]
    name: String,
    /// What is worth knowing.
    #[garde(inner(length(chars, max = 400)))]
    note: Option<String>,
    /// The thing it belongs to.
    #[garde(skip)]
    parent_id: Option<ThingId>,
}

/// What may change.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = fixture::ThingChanges)]
struct ThingChanges {
    /// What it is called.
    #[garde(inner(length(chars, min = 1, max = 80)))]
    name: Option<String>,
    /// What is worth knowing; null forgets it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    #[garde(inner(length(chars, max = 400)))]
    note: Patch<String>,
}

/// Which things.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Only those called so.
    name: Option<String>,
}

/// List things, the newest first.
#[endpoint]
async fn list(tx: Tx, wanted: List<Filter>) -> Result<Page<Thing>> {
    page(tx, wanted).await
}

/// List things again, under another path: a cursor of one list is none of the other.
#[endpoint]
async fn recent(tx: Tx, wanted: List<Filter>) -> Result<Page<Thing>> {
    page(tx, wanted).await
}

/// Make a thing.
#[endpoint("fixture.name_taken")]
async fn create(mut tx: Tx, Json(new): Json<NewThing>) -> Result<Created<Thing>> {
    Ok(Created(insert(&mut tx, new).await?))
}

/// Make a thing, once the gate opens.
#[endpoint("fixture.name_taken")]
async fn create_slowly(
    mut tx: Tx,
    Json(new): Json<NewThing>,
    State(gate): State<Gate>,
) -> Result<Created<Thing>> {
    let made = insert(&mut tx, new).await?;
    gate.pass().await;
    Ok(Created(made))
}

/// Make a thing, and panic.
#[endpoint("fixture.name_taken")]
async fn create_and_panic(mut tx: Tx, Json(new): Json<NewThing>) -> Result<Created<Thing>> {
    let made = insert(&mut tx, new).await?;
    panic!("{} was a mistake", made.name);
}

/// Read a thing.
#[endpoint]
async fn read(mut tx: Tx, Path(id): Path<ThingId>) -> Result<WithEtag<Thing>> {
    let value = find(&mut tx, id).await?;
    Ok(WithEtag { version: value.version, value })
}

/// Change a thing.
#[endpoint("fixture.name_taken")]
async fn change(
    mut tx: Tx,
    Path(id): Path<ThingId>,
    seen: IfMatch,
    Json(changes): Json<ThingChanges>,
) -> Result<WithEtag<Thing>> {
    let before = find(&mut tx, id).await?;
    seen.check(before.version)?;
    let value = sqlx::query_as::<_, Thing>(
        "update fixture.things set name = $3, note = $4, version = version + 1
         where tenant_id = $1 and id = $2
         returning id, name, note, parent_id, version, created_at",
    )
    .bind(*tx.tenant())
    .bind(*id)
    .bind(changes.name.unwrap_or_else(|| before.name.clone()))
    .bind(changes.note.apply(before.note.clone()))
    .fetch_one(tx.db())
    .await
    .on_constraint("things_name_key", name_taken)?;
    tx.emit_change(ThingChanged { id }, &before, &value).await?;
    Ok(WithEtag { version: value.version, value })
}

/// Remove a thing.
#[endpoint]
async fn delete(mut tx: Tx, Path(id): Path<ThingId>) -> Result<NoContent> {
    let removed = sqlx::query("delete from fixture.things where tenant_id = $1 and id = $2")
        .bind(*tx.tenant())
        .bind(*id)
        .execute(tx.db())
        .await?;
    if removed.rows_affected() == 0 {
        return Err(Error::not_found());
    }
    tx.emit(ThingDeleted { id }).await?;
    Ok(NoContent)
}

/// A thing was made.
#[derive(Event, Serialize, ToSchema)]
#[event(type = "thing.created", subject = id)]
#[serde(rename_all = "camelCase")]
struct ThingCreated {
    /// The thing.
    id: ThingId,
    /// What it is called.
    name: String,
    /// What is worth knowing, which may be about a person.
    #[personal]
    secret_note: Option<String>,
}

/// A thing was changed.
#[derive(Event, Serialize, ToSchema)]
#[event(type = "thing.changed", subject = id)]
#[serde(rename_all = "camelCase")]
struct ThingChanged {
    /// The thing.
    id: ThingId,
}

/// A thing was removed.
#[derive(Event, Serialize, ToSchema)]
#[event(type = "thing.deleted", subject = id)]
#[serde(rename_all = "camelCase")]
struct ThingDeleted {
    /// The thing.
    id: ThingId,
}

async fn page(mut tx: Tx, wanted: List<Filter>) -> Result<Page<Thing>> {
    let rows = sqlx::query_as::<_, Thing>(
        "select id, name, note, parent_id, version, created_at from fixture.things
         where tenant_id = $1 and ($2::text is null or name = $2) and ($3::uuid is null or id < $3)
         order by id desc limit $4",
    )
    .bind(*tx.tenant())
    .bind(&wanted.filter.name)
    .bind(wanted.after::<ThingId>()?.map(|id| *id))
    .bind(wanted.fetch_limit())
    .fetch_all(tx.db())
    .await?;
    wanted.page(rows, |thing| thing.id)
}

async fn find(tx: &mut Tx, id: ThingId) -> Result<Thing> {
    let found = sqlx::query_as(
        "select id, name, note, parent_id, version, created_at from fixture.things
         where tenant_id = $1 and id = $2",
    );
    Ok(found.bind(*tx.tenant()).bind(*id).fetch_one(tx.db()).await?)
}

async fn insert(tx: &mut Tx, new: NewThing) -> Result<Thing> {
    let made = sqlx::query_as::<_, Thing>(
        "insert into fixture.things (tenant_id, id, name, note, parent_id, created_at)
         values ($1, $2, $3, $4, $5, $6)
         returning id, name, note, parent_id, version, created_at",
    )
    .bind(*tx.tenant())
    .bind(*ThingId::new())
    .bind(new.name)
    .bind(&new.note)
    .bind(new.parent_id.map(|id| *id))
    .bind(tx.now())
    .fetch_one(tx.db())
    .await
    .on_constraint("things_name_key", name_taken)?;
    let (id, name) = (made.id, made.name.clone());
    tx.emit(ThingCreated { id, name, secret_note: new.note }).await?;
    Ok(made)
}

fn name_taken() -> Error {
    Error::conflict("fixture.name_taken", "Another thing is called so.")
}
