//! OpenAPI 3.1, inferred: schemas from types (utoipa), operations from handler signatures, words
//! from doc comments, the rest from the route.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::idempotency::KEY_LENGTH_MAX;
use super::json::MERGE_PATCH;
use super::operation::{Operation, SchemaConflict};
use super::problem::Problem;
use super::routes::{Access, Recent, Route};
use super::{example, formats, headers};
use crate::actor::RECENT;

/// What the document speaks of.
pub(crate) struct Described<'a> {
    pub(crate) public_url: &'a str,
    pub(crate) modules: &'a [&'static str],
    pub(crate) routes: &'a [Arc<Route>],
    /// The codes that signing in may be refused with.
    pub(crate) refusals: &'static [&'static str],
}

/// The whole document, and what is wrong with it: names used twice, missing descriptions.
pub(crate) fn document(app: &Described<'_>) -> (Value, Vec<String>) {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut all = Operation::default();
    all.reference::<Problem<'static>>();
    let mut faults = Vec::new();
    for route in app.routes {
        let mut operation = Operation::of(route);
        for (name, schema) in std::mem::take(&mut operation.schemas) {
            let known = all.schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            if *known != schema {
                faults.push(format!(
                    "schema {name}: two types have this name; add #[schema(as = …)]"
                ));
            }
        }
        faults.extend(operation.clashes.iter().map(|SchemaConflict(name)| {
            format!("schema {name}: two types have this name; add #[schema(as = …)]")
        }));
        if route.meta.docs.trim().is_empty() {
            faults.push(format!("{} {}: the handler has no doc comment", route.method, route.path));
        }
        let written = write(app.refusals, route, operation);
        paths
            .entry(&route.path)
            .or_default()
            .insert(route.method.as_str().to_ascii_lowercase(), written);
    }
    faults.extend(undescribed(&all.schemas));
    faults.extend(all.schemas.values().flat_map(formats::unknown));
    for operation in paths.values_mut().flat_map(Map::values_mut) {
        complete(operation, &all.schemas);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Freehold", "version": env!("CARGO_PKG_VERSION"),
            "description": "The back office of a B2B SaaS. Errors are problem documents (RFC 9457) with a stable `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        },
        "servers": [{"url": app.public_url}],
        "tags": app.modules.iter().map(|module| json!({"name": module})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": all.schemas,
            "headers": headers::described(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An access token or an API key"}
            }
        }
    });
    (document, faults)
}

fn write(refusals: &[&'static str], route: &Route, operation: Operation) -> Value {
    let mut docs = route.meta.docs.trim().splitn(2, "\n\n");
    let summary = docs.next().unwrap_or_default().replace('\n', " ");
    let (errors, access, class) = policy(refusals, route, &operation);
    let segments = route
        .path
        .split(['{', '}'])
        .skip(1)
        .step_by(2)
        .zip(operation.segments)
        .map(|(name, schema)| json!({"name": name, "in": "path", "required": true, "description": "Its id", "schema": schema}));
    let mut parameters: Vec<Value> = segments.chain(operation.parameters).collect();
    if operation.in_transaction && route.method == Method::POST {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "Repeating the request with the same key within 24 hours repeats the first answer",
            "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX}
        }));
    }
    let (status, answer) = operation.answer.unwrap_or((200, json!({"description": "Done"})));
    let mut written = json!({
        "operationId": format!("{}.{}", route.module, route.meta.name),
        "tags": [route.module],
        "summary": summary,
        "description": docs.next().unwrap_or_default().trim(),
        "parameters": parameters,
        "responses": {
            status.to_string(): answer,
            "default": {
                "description": "A problem",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/core.Problem"}}}
            }
        },
        "x-permission": access,
        "x-error-codes": errors,
        "x-rate-limit-class": class,
        "x-portal": route.portal,
    });
    if let Some(mut body) = operation.body {
        if route.method == Method::PATCH {
            body["content"][MERGE_PATCH] = body["content"]["application/json"].clone();
        }
        written["requestBody"] = body;
    }
    if route.access != Access::Public {
        written["security"] = json!([{"bearer": []}]);
    }
    add_recent(&mut written, route.recent);
    written
}

/// Says when the caller must have proved a moment ago that it is them.
fn add_recent(operation: &mut Value, recent: Recent) {
    let (when, words) = match recent {
        Recent::No => return,
        Recent::Always => ("always", String::new()),
        Recent::When(when) => (when, format!("When {when}: ")),
    };
    let words = format!(
        "{words}only for a person who proved within the last five minutes that it is them; \
         `POST /auth/step-up` does that. A key may not."
    );
    let words = words[..1].to_uppercase() + &words[1..];
    let docs = operation["description"].as_str().unwrap_or_default();
    let docs = if docs.is_empty() { words } else { format!("{docs}\n\n{words}") };
    operation["description"] = docs.into();
    operation["x-step-up"] = json!({"withinSeconds": RECENT.as_secs(), "when": when});
}

/// Puts an example beside the schema of the body and of every answer, and to each answer its headers.
fn complete(operation: &mut Value, schemas: &BTreeMap<String, Value>) {
    let add = |carrier: &mut Value| {
        let contents = carrier.get_mut("content").and_then(Value::as_object_mut);
        for content in contents.into_iter().flat_map(Map::values_mut) {
            content["example"] = example::of(&content["schema"], schemas);
        }
    };
    operation.get_mut("requestBody").into_iter().for_each(add);
    let answers = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (status, answer) in answers.into_iter().flatten() {
        headers::refer(answer, status == "default");
        add(answer);
    }
}

/// Every code this operation may refuse with, who may call it, and which budget it draws on.
fn policy(
    refusals: &[&'static str],
    route: &Route,
    operation: &Operation,
) -> (Vec<&'static str>, &'static str, &'static str) {
    let mut errors = vec!["core.rate_limited", "core.headers_too_large", "core.internal"];
    // A query parameter that no route knows is refused by every route.
    errors.push("core.invalid");
    // The body is read whatever the handler takes.
    errors.extend(["core.too_large", "core.too_slow", "core.body_broken"]);
    errors.extend(["core.database_unavailable", "core.database_full", "core.busy", "core.timeout"]);
    errors.extend(operation.errors.iter());
    errors.extend(route.meta.errors);
    if route.access != Access::Public {
        errors.push("core.unauthenticated");
        errors.extend(refusals);
        errors.extend((!route.portal).then_some("core.not_for_portal"));
    }
    if route.recent != Recent::No {
        errors.push("core.step_up_required");
    }
    if matches!(route.access, Access::Permission(_)) {
        errors.extend(["core.permission_missing", "core.no_tenant"]);
    }
    if operation.in_transaction {
        errors.extend(["core.no_tenant", "core.not_found"]);
        if route.method == Method::POST {
            errors.extend(["core.idempotency_in_flight", "core.idempotency_mismatch"]);
        }
    }
    errors.sort_unstable();
    errors.dedup();
    let (access, class) = match route.access {
        Access::Public => ("public", "ip"),
        Access::SignedIn => ("signed-in", "tenant"),
        Access::Permission(name) => (name, "tenant"),
    };
    (errors, access, class)
}

/// Every field must say what it is.
fn undescribed(schemas: &BTreeMap<String, Value>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, schema) in schemas {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            if !is_described(property) {
                faults.push(format!("schema {name}: field {field} has no doc comment"));
            }
        }
    }
    faults
}

/// utoipa puts the words for an optional reference beside the reference, not beside the choice
/// between it and null.
fn is_described(property: &Value) -> bool {
    let choices = property["oneOf"].as_array().into_iter().flatten();
    std::iter::once(property)
        .chain(choices)
        .any(|schema| schema["description"].as_str().is_some_and(|words| !words.is_empty()))
}
