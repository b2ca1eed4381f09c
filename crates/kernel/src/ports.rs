//! Ports: questions one module asks another that need an answer now. Everything else travels as
//! an event.

use futures_util::future::BoxFuture;
use std::sync::Arc;

use crate::actor::Actor;
use crate::changes::Change;
use crate::cx::Cx;
use crate::error::Result;

/// Finds out who is asking.
pub trait Authenticate: Send + Sync {
    /// The actor behind the credentials of this request, or `None` when it carries none.
    /// Implementations remember what they have verified: this runs before every request.
    ///
    /// # Errors
    /// 401 for credentials that do not hold, 404 for a tenant the person is not in, 403 for a
    /// suspended tenant.
    fn authenticate<'a>(&'a self, cx: &'a Cx) -> BoxFuture<'a, Result<Option<Arc<Actor>>>>;

    /// Something changed on this node or another: whatever was remembered about it is stale.
    fn forget(&self, change: &Change);

    /// The codes that [`Authenticate::authenticate`] refuses with, for the API's description.
    fn refusals(&self) -> &'static [&'static str];
}

/// Stands where no module authenticates: nobody is ever known.
pub(crate) struct Nobody;

impl Authenticate for Nobody {
    fn authenticate<'a>(&'a self, _: &'a Cx) -> BoxFuture<'a, Result<Option<Arc<Actor>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn forget(&self, _: &Change) {}

    fn refusals(&self) -> &'static [&'static str] {
        &[]
    }
}
