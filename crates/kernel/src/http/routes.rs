//! How a module declares its routes: method, path, who may, handler, on one line.

use axum::http::Method;

use super::handler::{Endpoint, EndpointMeta, ErasedEndpoint};

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
    /// The module that declared it.
    pub module: &'static str,
    /// Name, documentation and error codes of the handler.
    pub meta: EndpointMeta,
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

    fn route(
        mut self,
        method: Method,
        path: &str,
        access: Access,
        endpoint: impl Endpoint,
    ) -> Self {
        let path = format!("{}{}", self.base, path.strip_suffix('/').unwrap_or(path));
        let (meta, endpoint) = (endpoint.meta(), endpoint.erase());
        self.routes.push(Route {
            method,
            path,
            access,
            recorded: false,
            module: "",
            meta,
            endpoint,
        });
        self
    }

    pub(crate) fn into_routes(self, module: &'static str) -> Vec<Route> {
        self.routes.into_iter().map(|route| Route { module, ..route }).collect()
    }
}
