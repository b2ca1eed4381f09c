//! The operations of the OpenAPI document, found by the path of a request.

use std::collections::HashSet;

use serde_json::Value;

/// What may be asked, and what it may be refused with.
pub(crate) struct Operations(Vec<Operation>);

struct Operation {
    method: String,
    path: String,
    codes: HashSet<String>,
}

/// Where no operation is: no such path, or not with this method.
const UNROUTED: [&str; 2] = ["core.not_found", "core.method_not_allowed"];

impl Operations {
    pub(crate) fn of(document: &Value) -> Self {
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let codes = operation["x-error-codes"].as_array().into_iter().flatten();
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    codes: codes.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
                });
            }
        }
        Self(operations)
    }

    /// Whether the operation behind this request says that it may refuse with `code`.
    pub(crate) fn names(&self, method: &str, path: &str, code: &str) -> bool {
        // A GET route answers HEAD as well.
        let method = if method == "HEAD" { "GET" } else { method };
        let found = self.0.iter().filter(|operation| operation.method == method);
        let closest = found
            .filter_map(|operation| Some((likeness(&operation.path, path)?, operation)))
            .max_by_key(|(likeness, _)| *likeness);
        match closest {
            Some((_, operation)) => operation.codes.contains(code),
            None => UNROUTED.contains(&code),
        }
    }
}

/// How many segments of a path stand in the template as they are; `None` when it does not fit.
fn likeness(template: &str, path: &str) -> Option<usize> {
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    if template.len() != path.len() {
        return None;
    }
    let pairs = template.iter().zip(&path);
    let fits = |(wanted, given): (&&str, &&str)| wanted.starts_with('{') || wanted == given;
    if !pairs.clone().all(fits) {
        return None;
    }
    Some(pairs.filter(|(wanted, given)| wanted == given).count())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_closest_operation_speaks_for_a_path() {
        let document = json!({"paths": {
            "/things/{id}": {"get": {"x-error-codes": ["things.gone"]}},
            "/things/own": {"get": {"x-error-codes": ["things.none"]}},
        }});
        let operations = Operations::of(&document);
        assert!(operations.names("GET", "/things/thg_1", "things.gone"));
        assert!(operations.names("HEAD", "/things/thg_1", "things.gone"));
        assert!(operations.names("GET", "/things/own", "things.none"));
        assert!(!operations.names("GET", "/things/own", "things.gone"));
        assert!(operations.names("GET", "/nowhere", "core.not_found"));
        assert!(operations.names("PUT", "/things/own", "core.method_not_allowed"));
    }
}
