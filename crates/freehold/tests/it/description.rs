//! `/openapi.json` says everything: each operation what it is, who may, what it refuses with; each
//! field what it means and how far it goes; each example what a schema takes.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use freehold_egress::{Egress, Options};
use serde_json::Value;

use crate::fits::misfits;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let egress = Egress::new(Options::default()).unwrap();
    let modules = freehold::modules(Default::default(), egress);
    freehold_kernel::openapi("http://localhost:3000", modules).unwrap()
});

/// Every operation, with its method and path.
fn operations() -> Vec<(String, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
        .collect();
    assert!(operations.len() > 40, "these are not all: {}", operations.len());
    operations
}

/// Fails with everything that is wrong.
fn nothing_of(faults: &[String]) {
    assert!(faults.is_empty(), "{} times:\n  {}", faults.len(), faults.join("\n  "));
}

#[test]
fn every_operation_has_an_id_a_summary_a_permission_its_codes_and_its_class() {
    let (mut faults, mut ids) = (Vec::new(), BTreeSet::new());
    for (name, operation) in operations() {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        let codes: Vec<&str> = texts(&operation["x-error-codes"]);
        let is_code = |code: &&str| {
            code.split_once('.').is_some_and(|(module, reason)| {
                [module, reason].iter().all(|word| {
                    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                })
            })
        };
        let access = text("x-permission");
        let (is_public, is_signed_in) = (access == "public", access == "signed-in");
        let class = if is_public { "ip" } else { "tenant" };
        let refuses_strangers = codes.contains(&"core.unauthenticated");
        for (is_right, what) in [
            (is_code(&text("operationId")), "no operationId as in `module.do_it`"),
            (ids.insert(text("operationId")), "an operationId that another has"),
            (!texts(&operation["tags"]).is_empty(), "no tag"),
            (!text("summary").is_empty() && !text("summary").contains('\n'), "no summary"),
            (is_public || is_signed_in || access.contains(':'), "no permission"),
            (operation["security"].is_array() != is_public, "security that is not its permission"),
            (codes.contains(&"core.rate_limited"), "no code of a limit"),
            (codes.iter().all(is_code), "a code that is not as in `module.reason`"),
            (refuses_strangers != is_public, "401 where it is public, or none where it is not"),
            (text("x-rate-limit-class") == class, "not the class of its limit"),
            (operation["responses"]["default"].is_object(), "no word on problems"),
        ] {
            if !is_right {
                faults.push(format!("{name}: {what}"));
            }
        }
    }
    nothing_of(&faults);
}

#[test]
fn every_body_and_answer_has_an_example_that_its_schema_takes() {
    let mut faults = Vec::new();
    for (name, operation) in operations() {
        let answers = operation["responses"].as_object().unwrap();
        let answers = answers.iter().map(|(status, answer)| (status.as_str(), answer));
        let body = operation.get("requestBody").map(|body| ("body", body));
        for (what, carrier) in answers.chain(body) {
            let contents = carrier["content"].as_object();
            if contents.is_none() && what != "204" {
                faults.push(format!("{name} {what}: no content"));
            }
            for content in contents.into_iter().flat_map(|contents| contents.values()) {
                let Some(example) = content.get("example") else {
                    faults.push(format!("{name} {what}: no example"));
                    continue;
                };
                let wrong = misfits(&DOCUMENT, &content["schema"], example, "");
                faults.extend(wrong.into_iter().map(|fault| format!("{name} {what}{fault}")));
            }
        }
    }
    nothing_of(&faults);
}

#[test]
fn every_parameter_and_every_field_says_what_it_is() {
    let mut faults = Vec::new();
    for (name, operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if !is_described(parameter) || !parameter["schema"].is_object() {
                faults.push(format!("{name}: parameter {}", parameter["name"]));
            }
        }
        let answers = operation["responses"].as_object().unwrap().values();
        for answer in answers.flat_map(|answer| answer["content"].as_object()).flatten() {
            each_field(&answer.1["schema"], &mut |field, schema| {
                if !is_described(schema) {
                    faults.push(format!("{name}: field {field} of the answer"));
                }
            });
        }
    }
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        each_field(schema, &mut |field, schema| {
            if !is_described(schema) {
                faults.push(format!("{name}: field {field}"));
            }
        });
    }
    nothing_of(&faults);
}

#[test]
fn every_field_of_a_request_has_a_bound() {
    let mut faults = Vec::new();
    for (name, operation) in operations() {
        for content in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            unbounded(&content.1["schema"], &name, &mut faults);
        }
    }
    faults.sort();
    faults.dedup();
    nothing_of(&faults);
}

/// The places in a schema where a value may be as long, as large or as many as it likes. Objects
/// without fields of their own have the bound of the body.
fn unbounded(schema: &Value, place: &str, faults: &mut Vec<String>) {
    let schema = resolved(schema);
    for choice in ["oneOf", "anyOf", "allOf"].iter().filter_map(|kind| schema[*kind].as_array()) {
        choice.iter().for_each(|choice| unbounded(choice, place, faults));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        unbounded(field, &format!("{place} /{name}"), faults);
    }
    if schema["items"].is_object() {
        unbounded(&schema["items"], &format!("{place}/*"), faults);
    }
    let types: Vec<&str> =
        schema["type"].as_str().into_iter().chain(texts(&schema["type"])).collect();
    let of_fixed_length = ["date-time", "typeid"].map(Value::from).contains(&schema["format"]);
    for (kind, bound) in [("string", "maxLength"), ("array", "maxItems"), ("integer", "maximum")] {
        if types.contains(&kind)
            && schema[bound].is_null()
            && schema["enum"].is_null()
            && !of_fixed_length
        {
            faults.push(format!("{place}: no {bound}"));
        }
    }
}

/// Every property, however deep it lies.
fn each_field(schema: &Value, see: &mut dyn FnMut(&str, &Value)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        see(name, field);
    }
    match schema {
        Value::Object(parts) => {
            let parts = parts.iter().filter(|(name, _)| !name.starts_with("example"));
            parts.for_each(|(_, part)| each_field(part, see));
        }
        Value::Array(parts) => parts.iter().for_each(|part| each_field(part, see)),
        _ => {}
    }
}

/// The words for an optional reference stand beside the reference.
fn is_described(schema: &Value) -> bool {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    std::iter::once(schema)
        .chain(choices)
        .any(|schema| schema["description"].as_str().is_some_and(|words| !words.is_empty()))
}

fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(path) => DOCUMENT.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
