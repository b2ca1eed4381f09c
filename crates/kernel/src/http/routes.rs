//! How a module declares its routes: method, path, who may, handler, on one line.

use axum::http::Method;

use super::handler::{Endpoint, EndpointMeta, ErasedEndpoint};
use super::operation::Operation;

/// Routes under one base path.
pub struct Routes {
    base: &'static str,
    routes: Vec<Route>,
}

/// One route.
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: String,
    /// Who may call it.
    pub access: Access,
    /// Whether a GET leaves an audit record, and so needs a transaction that can write.
    pub recorded: bool,
    /// Whether the caller must have proved a moment ago who they are.
    pub recent: Recent,
    /// Whether a customer of the tenant's may call it with a link of the portal.
    pub portal: bool,
    /// The module that declared it.
    pub module: &'static str,
    /// Name, documentation and error codes of the handler.
    pub meta: EndpointMeta,
    /// The query parameters it takes.
    pub(crate) query: Vec<String>,
    pub(crate) endpoint: ErasedEndpoint,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without credentials.
    Public,
    /// Anybody with credentials that hold, in whatever tenant or none.
    SignedIn,
    /// Those who hold the permission in the tenant they act in.
    Permission(&'static str),
}

/// Whether the caller must have proved within the last five minutes that it is them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recent {
    /// Whenever they did will do.
    No,
    /// They must.
    Always,
    /// They must if this is so, in words; the handler finds out.
    When(&'static str),
}

/// For routes that anybody may call.
pub const PUBLIC: Access = Access::Public;

/// For routes about oneself.
pub const SIGNED_IN: Access = Access::SignedIn;

impl From<&'static str> for Access {
    fn from(permission: &'static str) -> Self {
        Self::Permission(permission)
    }
}

impl Routes {
    /// Starts a list of routes under `base`, as in `/api/v1/webhooks`.
    #[must_use]
    pub fn at(base: &'static str) -> Self {
        Self { base, routes: Vec::new() }
    }

    /// A GET route.
    #[must_use]
    pub fn get(self, path: &str, access: impl Into<Access>, endpoint: impl Endpoint) -> Self {
        self.route(Method::GET, path, access.into(), endpoint)
    }

    /// A POST route.
    #[must_use]
    pub fn post(self, path: &str, access: impl Into<Access>, endpoint: impl Endpoint) -> Self {
        self.route(Method::POST, path, access.into(), endpoint)
    }

    /// A PUT route.
    #[must_use]
    pub fn put(self, path: &str, access: impl Into<Access>, endpoint: impl Endpoint) -> Self {
        self.route(Method::PUT, path, access.into(), endpoint)
    }

    /// A PATCH route.
    #[must_use]
    pub fn patch(self, path: &str, access: impl Into<Access>, endpoint: impl Endpoint) -> Self {
        self.route(Method::PATCH, path, access.into(), endpoint)
    }

    /// A DELETE route.
    #[must_use]
    pub fn delete(self, path: &str, access: impl Into<Access>, endpoint: impl Endpoint) -> Self {
        self.route(Method::DELETE, path, access.into(), endpoint)
    }

    /// The route before this leaves an audit record although it only reads: secrets, exports, the
    /// audit log, other people's sessions.
    #[must_use]
    pub fn recorded(mut self) -> Self {
        if let Some(route) = self.routes.last_mut() {
            route.recorded = true;
        }
        self
    }

    /// The route before this is for a person who proved within the last five minutes that it is
    /// them; anybody else is refused with 403 `core.step_up_required`, keys included.
    #[must_use]
    pub fn recent(self) -> Self {
        self.demand(Recent::Always)
    }

    /// The same if something is so that only the handler can tell, and which `when` says in words,
    /// as in "the role allows `users:transfer`". The handler calls
    /// [`check_recent`](crate::Actor::check_recent).
    #[must_use]
    pub fn recent_when(self, when: &'static str) -> Self {
        self.demand(Recent::When(when))
    }

    /// The route before this is open to customers of the tenant's, who come with a link of the portal
    /// and are confined to what is theirs; every other route refuses them. Its statements say
    /// `customer`, or look at something that one did.
    #[must_use]
    pub fn portal(mut self) -> Self {
        if let Some(route) = self.routes.last_mut() {
            route.portal = true;
        }
        self
    }

    fn demand(mut self, recent: Recent) -> Self {
        if let Some(route) = self.routes.last_mut() {
            route.recent = recent;
        }
        self
    }

    fn route(
        mut self,
        method: Method,
        path: &str,
        access: Access,
        endpoint: impl Endpoint,
    ) -> Self {
        let path = format!("{}{}", self.base, path.strip_suffix('/').unwrap_or(path));
        let (meta, endpoint) = (endpoint.meta(), endpoint.erase());
        let query = Operation::by(&endpoint).query_names();
        self.routes.push(Route {
            method,
            path,
            access,
            recorded: false,
            recent: Recent::No,
            portal: false,
            module: "",
            meta,
            query,
            endpoint,
        });
        self
    }

    pub(crate) fn into_routes(self, module: &'static str) -> Vec<Route> {
        self.routes.into_iter().map(|route| Route { module, ..route }).collect()
    }
}
