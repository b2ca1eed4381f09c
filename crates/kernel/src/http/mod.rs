//! HTTP: how a route is declared, what handlers take and answer, and the wrapper around them.

mod answer;
mod body;
mod docs;
pub(crate) mod example;
mod formats;
pub mod fuzzing;
mod handler;
mod headers;
mod health;
mod idempotency;
mod input;
mod json;
mod list;
mod one_or_many;
mod openapi;
mod operation;
mod patch;
mod path;
mod problem;
mod query;
mod reason;
mod router;
mod routes;
mod serve;
mod server;

pub use answer::{Accepted, Answer, Created, NoContent, Output, WithEtag};
pub use handler::{Endpoint, EndpointMeta, ErasedEndpoint, Handler, erase};
pub use input::{IfMatch, Input, State};
pub use json::Json;
pub use list::{List, NoFilter, Page};
pub use one_or_many::OneOrMany;
pub use operation::{Operation, SchemaConflict};
pub use patch::Patch;
pub use path::{FromSegment, Path};
pub use reason::Reason;
pub use routes::{Access, PUBLIC, Recent, Route, Routes, SIGNED_IN};
pub use server::Server;

pub(crate) use health::Health;
pub(crate) use idempotency::forget as forget_idempotency_keys;
pub(crate) use openapi::{Described, document};
pub(crate) use router::router;
