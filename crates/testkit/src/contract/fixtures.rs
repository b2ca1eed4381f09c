//! What a check needs to know that the API's description does not say.

use std::collections::HashMap;
use std::fmt::Display;

use crate::people::Tenant;

/// Things that exist: every kind of id that stands in a path, in one tenant.
#[derive(Clone, Debug)]
pub struct Fixtures {
    pub(super) tenant: Tenant,
    ids: HashMap<String, String>,
    segments: HashMap<String, String>,
    modules: Vec<String>,
}

impl Fixtures {
    /// Nothing yet but the tenant.
    #[must_use]
    pub fn of(tenant: &Tenant) -> Self {
        let ids = [tenant.id.to_string(), tenant.owner.to_string()];
        let new = Self {
            tenant: tenant.clone(),
            ids: HashMap::new(),
            segments: HashMap::new(),
            modules: Vec::new(),
        };
        ids.into_iter().fold(new, Self::id)
    }

    /// The id of a thing that exists in the tenant; its prefix says of what kind.
    #[must_use]
    pub fn id(mut self, id: impl Display) -> Self {
        let id = format!("{id}");
        let prefix = id.split('_').next().unwrap_or_default().to_owned();
        self.ids.insert(prefix, id);
        self
    }

    /// The value of a path parameter that is not an id.
    #[must_use]
    pub fn segment(mut self, name: &str, value: &str) -> Self {
        self.segments.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Only the routes of this module, and of others named so.
    #[must_use]
    pub fn only(mut self, module: &str) -> Self {
        self.modules.push(module.to_owned());
        self
    }

    pub(super) fn concern(&self, module: &str) -> bool {
        self.modules.is_empty() || self.modules.iter().any(|wanted| wanted == module)
    }

    pub(super) fn known_id(&self, prefix: &str) -> Option<&str> {
        self.ids.get(prefix).map(String::as_str)
    }

    pub(super) fn known_segment(&self, name: &str) -> Option<&str> {
        self.segments.get(name).map(String::as_str)
    }
}
