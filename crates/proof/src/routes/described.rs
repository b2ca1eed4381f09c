//! A route as the sweep sees it: what the application registered and what its description says.

use freehold_kernel::{Access, App, SystemRole};
use serde_json::Value;

use super::Cast;

/// One route, described.
pub(super) struct Described {
    /// `GET /api/v1/webhooks/{id}`.
    pub(super) name: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) segments: Vec<Segment>,
    /// The names of its query parameters.
    pub(super) query: Vec<String>,
    /// What its body may look like.
    pub(super) body: Option<Value>,
    /// Whether it shows what the tenant's own people have asked.
    pub(super) repeats: bool,
}

/// A parameter of the path.
pub(super) struct Segment {
    pub(super) name: String,
    /// The three letters, when it is an id.
    pub(super) prefix: Option<String>,
}

impl Described {
    /// The highest risk.
    pub(super) const RISKS: u8 = 2;

    /// Every route of the application.
    pub(super) fn all(app: &App, cast: &Cast) -> Vec<Self> {
        let document = app.openapi_document();
        let wanted = |module: &str| {
            cast.modules.is_empty() || cast.modules.iter().any(|wanted| wanted == module)
        };
        let routes = app.routes().iter().filter(|route| wanted(route.module));
        routes
            .map(|route| {
                let method = route.method.to_string();
                let name = format!("{method} {}", route.path);
                let operation = &document["paths"][&route.path][method.to_lowercase()];
                let given = cast.bodies.iter().find(|(known, _)| *known == name);
                let given = given.map(|(_, body)| body.clone());
                Self {
                    access: route.access,
                    repeats: cast.repeats.contains(&name),
                    path: route.path.clone(),
                    segments: parameters(operation, "path").filter_map(Segment::of).collect(),
                    query: parameters(operation, "query")
                        .filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned()))
                        .collect(),
                    body: given.or_else(|| example(operation)),
                    name,
                    method,
                }
            })
            .collect()
    }

    /// When it is asked: what only reads, or needs a permission, goes before what concerns the
    /// caller alone, and what ends their session comes last.
    pub(super) fn risk(&self) -> u8 {
        let about_oneself = !matches!(self.access, Access::Permission(_)) && self.method != "GET";
        match (about_oneself, &self.body) {
            (false, _) => 0,
            (true, Some(_)) => 1,
            (true, None) => Self::RISKS,
        }
    }

    /// Whether nobody but operators holds its permission.
    pub(super) fn is_for_operators(&self, app: &App) -> bool {
        let Access::Permission(name) = self.access else { return false };
        app.holders(name) == [SystemRole::Operator]
    }

    /// The path with a value for each parameter.
    pub(super) fn path_with(&self, value: impl Fn(&Segment) -> String) -> String {
        self.segments.iter().fold(self.path.clone(), |path, segment| {
            path.replace(&format!("{{{}}}", segment.name), &value(segment))
        })
    }
}

impl Segment {
    fn of(parameter: &Value) -> Option<Self> {
        let pattern = parameter["schema"]["pattern"].as_str().unwrap_or_default();
        let prefix = pattern.strip_prefix('^').and_then(|rest| rest.split_once('_'));
        Some(Self {
            name: parameter["name"].as_str()?.to_owned(),
            prefix: prefix.map(|(prefix, _)| prefix.to_owned()),
        })
    }
}

fn parameters<'a>(operation: &'a Value, place: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.filter(move |parameter| parameter["in"] == place)
}

fn example(operation: &Value) -> Option<Value> {
    let content = operation["requestBody"]["content"].as_object()?;
    let body = content.get("application/json").or_else(|| content.values().next())?;
    body.get("example").cloned()
}
