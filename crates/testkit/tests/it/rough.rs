//! A module that breaks the rules of the API on purpose, to see that the check names each.

use freehold_kernel::{
    Cx, Error, Id, Json, List, Module, Named, NoContent, Page, Path, Result, Routes, SystemRole,
    Tx, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) enum Stone {}

impl Named for Stone {
    const PREFIX: &'static str = "stn";
}

pub(crate) fn module() -> Module {
    Module::new("rough")
        .resource("stone", "stones")
        .id::<Stone>()
        .permission("stones:write", "Throw stones", &[SystemRole::Owner])
        .routes(
            Routes::at("/api/v1/stones")
                .get("/", "stones:write", all)
                .post("/", "stones:write", throw)
                .put("/{id}", "stones:write", place)
                .delete("/{id}", "stones:write", grind),
        )
}

/// A stone, described badly: its type takes any field.
#[derive(Deserialize, Serialize, ToSchema, Validate)]
#[schema(as = rough::Stone)]
struct NewStone {
    /// How heavy; read from a number or a text, whatever the schema says.
    #[garde(skip)]
    #[schema(value_type = Option<i64>)]
    weight: Option<serde_json::Value>,
}

/// Any query will do.
#[derive(Deserialize, ToSchema)]
struct Loose {}

/// List stones, with whatever parameters.
#[endpoint]
async fn all(_tx: Tx, wanted: List<Loose>) -> Result<Page<NewStone>> {
    wanted.page(Vec::new(), |stone: &NewStone| stone.weight.clone())
}

/// Throw a stone. Commits by itself, and then refuses.
#[endpoint]
async fn throw(cx: Cx, Json(_): Json<NewStone>) -> Result<NoContent> {
    let mut tx = cx.tx().await?;
    tx.claim("stone", cx.request_id().as_bytes(), uuid::Uuid::now_v7()).await?;
    tx.commit().await?;
    Err(Error::conflict("rough.too_heavy", "Nobody documents this code."))
}

/// Place a stone. Reads the body before the path.
#[endpoint]
async fn place(Json(_): Json<NewStone>, Path(_): Path<Id<Stone>>) -> Result<NoContent> {
    Ok(NoContent)
}

/// Grind a stone. Fails with 500 when it is not there.
#[endpoint]
async fn grind(Path(_): Path<Id<Stone>>) -> Result<NoContent> {
    Err(Error::internal("no such stone"))
}
