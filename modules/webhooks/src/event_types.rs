//! `GET /event-types`: what there is to subscribe to.

use freehold_kernel::{Cx, Json, Result, Routes, endpoint};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/event-types").get("/", "events:read", list_event_types)
}

/// Every kind of event of Freehold's.
#[derive(Serialize, ToSchema)]
#[schema(as = webhooks::EventTypes)]
struct EventTypes {
    /// Sorted by name.
    data: Vec<EventType>,
}

/// A kind of event.
#[derive(Serialize, ToSchema)]
#[schema(as = webhooks::EventType)]
struct EventType {
    /// Its name, as in an endpoint's `events`.
    #[schema(example = "user.updated")]
    name: &'static str,
    /// What happened.
    #[schema(example = "A person changed something about themselves.")]
    description: &'static str,
    /// JSON Schema of the request's `data`.
    #[schema(value_type = Object, example = json!({"type": "object"}))]
    schema: Value,
    /// An example of the request's `data`.
    #[schema(value_type = Object, example = json!({"userId": "usr_01jz8q6k3mf1g8tvkh4z6c9x2b"}))]
    sample: Value,
}

/// List the kinds of events that Freehold sends, each with its schema and a sample.
#[endpoint]
async fn list_event_types(cx: Cx) -> Result<Json<EventTypes>> {
    let data = cx.app().events().iter().map(|kind| EventType {
        name: kind.name,
        description: kind.description,
        schema: kind.public_schema(),
        sample: kind.public_sample(),
    });
    Ok(Json(EventTypes { data: data.collect() }))
}
