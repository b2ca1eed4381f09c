//! A route as the check sees it: what the application registered and what its description says.

use freehold_kernel::{Access, Id, Named, Recent};
use serde_json::Value;

use super::Fixtures;
use super::schema::Schemas;
use crate::app::TestApp;

/// One route, described.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) method: String,
    pub(super) module: &'static str,
    pub(super) permission: Option<&'static str>,
    pub(super) is_public: bool,
    pub(super) is_list: bool,
    /// Reading it is an event: a read that is answered adds to the stream.
    pub(super) is_recorded: bool,
    /// Only for those who proved a moment ago who they are.
    pub(super) is_recent: bool,
    /// The names of its query parameters.
    pub(super) query: Vec<String>,
    pub(super) takes_key: bool,
    pub(super) takes_etag: bool,
    /// The JSON body's schema.
    pub(super) body: Option<Value>,
    pub(super) schemas: Schemas,
    path: String,
    segments: Vec<Segment>,
}

/// A parameter of the path.
pub(super) struct Segment {
    pub(super) name: String,
    /// The three letters, when it is an id.
    pub(super) prefix: Option<String>,
}

impl Described {
    /// Every route of the application.
    pub(super) fn all(app: &TestApp) -> Vec<Self> {
        let document = app.kernel().openapi_document();
        let routes = app.kernel().routes().iter();
        routes
            .map(|route| {
                let method = route.method.to_string();
                let operation = &document["paths"][&route.path][method.to_lowercase()];
                Self {
                    name: format!("{method} {}", route.path),
                    module: route.module,
                    permission: match route.access {
                        Access::Permission(name) => Some(name),
                        Access::Public | Access::SignedIn => None,
                    },
                    is_public: route.access == Access::Public,
                    is_list: has(operation, "query", "limit"),
                    is_recorded: route.recorded,
                    is_recent: route.recent == Recent::Always,
                    query: parameters(operation)
                        .filter(|parameter| parameter["in"] == "query")
                        .filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned()))
                        .collect(),
                    takes_key: has(operation, "header", "Idempotency-Key"),
                    takes_etag: has(operation, "header", "If-Match"),
                    body: operation["requestBody"]["content"]["application/json"]
                        .get("schema")
                        .cloned(),
                    schemas: Schemas::of(document),
                    path: route.path.clone(),
                    segments: parameters(operation).filter_map(Segment::of).collect(),
                    method,
                }
            })
            .collect()
    }

    /// The path to things that exist; what is missing to name them, otherwise.
    pub(super) fn path_with(&self, fixtures: &Fixtures) -> Result<String, String> {
        let mut path = self.path.clone();
        for segment in &self.segments {
            let value = match &segment.prefix {
                Some(prefix) => fixtures.known_id(prefix),
                None => fixtures.known_segment(&segment.name),
            };
            let value = value.ok_or_else(|| {
                let kind = segment.prefix.as_deref().unwrap_or(&segment.name);
                format!(
                    "{}: nothing is known of the kind {kind}; make one in the test's fixtures and \
                     give it to Fixtures::id (or Fixtures::segment)",
                    self.name
                )
            })?;
            path = path.replace(&format!("{{{}}}", segment.name), value);
        }
        Ok(path)
    }

    /// Paths that must lead nowhere, each with the reason.
    pub(super) fn paths_to_nowhere(&self) -> Vec<(String, &'static str)> {
        enum Stranger {}
        impl Named for Stranger {
            const PREFIX: &'static str = "zzz";
        }
        let foreign = Id::<Stranger>::new().to_string();
        let mut paths = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.prefix.is_some()) {
            let own = segment.prefix.as_deref().unwrap_or_default();
            let upper_case = foreign.replace("zzz", own).to_uppercase();
            for (value, what) in [
                ("nonsense", "an id that is none"),
                (&foreign, "an id of another kind"),
                (&upper_case, "an id in upper case"),
                ("%00", "a null byte in the path"),
            ] {
                paths.push((self.path.replace(&format!("{{{}}}", segment.name), value), what));
            }
        }
        // What comes after does not matter: the first wrong id leads nowhere.
        paths.into_iter().map(|(path, what)| (path.replace(['{', '}'], ""), what)).collect()
    }

    /// The same path with new ids of the right kinds, which name nothing.
    pub(super) fn path_to_nothing(&self) -> Option<String> {
        enum Nothing {}
        impl Named for Nothing {
            const PREFIX: &'static str = "zzz";
        }
        let mut path = self.path.clone();
        for segment in &self.segments {
            let id = Id::<Nothing>::new().to_string().replace("zzz", segment.prefix.as_deref()?);
            path = path.replace(&format!("{{{}}}", segment.name), &id);
        }
        (!self.segments.is_empty()).then_some(path)
    }
}

impl Segment {
    fn of(parameter: &Value) -> Option<Self> {
        if parameter["in"] != "path" {
            return None;
        }
        let pattern = parameter["schema"]["pattern"].as_str().unwrap_or_default();
        let prefix = pattern.strip_prefix('^').and_then(|rest| rest.split_once('_'));
        Some(Self {
            name: parameter["name"].as_str()?.to_owned(),
            prefix: prefix.map(|(prefix, _)| prefix.to_owned()),
        })
    }
}

fn parameters(operation: &Value) -> impl Iterator<Item = &Value> {
    operation["parameters"].as_array().into_iter().flatten()
}

fn has(operation: &Value, place: &str, name: &str) -> bool {
    parameters(operation).any(|parameter| parameter["in"] == place && parameter["name"] == name)
}
