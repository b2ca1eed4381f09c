//! Whether a value fits a JSON schema, as far as our schemas go.

use regex::Regex;
use serde_json::Value;

/// What of a value its schema does not take, each with its place.
pub(crate) fn misfits(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(path) = schema["$ref"].as_str() {
        let found = document.pointer(path.trim_start_matches('#'));
        return found.map_or(vec![format!("{place}: {path} is nowhere")], |schema| {
            misfits(document, schema, value, place)
        });
    }
    for kind in ["oneOf", "anyOf"] {
        let Some(choices) = schema[kind].as_array() else { continue };
        let all: Vec<_> =
            choices.iter().map(|choice| misfits(document, choice, value, place)).collect();
        let fitting = all.iter().filter(|wrong| wrong.is_empty()).count();
        if fitting == 0 || (kind == "oneOf" && fitting > 1) {
            return vec![format!("{place}: {value} fits {fitting} of {kind}: {all:?}")];
        }
    }
    let mut wrong: Vec<String> = Vec::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        wrong.extend(misfits(document, part, value, place));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !types.is_empty() && !types.iter().any(|name| is_a(name, value)) {
        wrong.push(format!("{place}: {value} is no {types:?}"));
    }
    wrong.extend(match value {
        Value::String(text) => text_misfits(schema, text, place),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            let below = schema["minimum"].as_f64().is_some_and(|least| number < least);
            let above = schema["maximum"].as_f64().is_some_and(|most| number > most);
            if below || above {
                vec![format!("{place}: {number} is out of bounds")]
            } else {
                vec![]
            }
        }
        Value::Array(items) => {
            let misfits =
                |(at, item)| misfits(document, &schema["items"], item, &format!("{place}/{at}"));
            let mut wrong: Vec<String> = items.iter().enumerate().flat_map(misfits).collect();
            if outside(schema, "minItems", "maxItems", items.len()) {
                wrong.push(format!("{place}: {} items", items.len()));
            }
            wrong
        }
        Value::Object(_) => object_misfits(document, schema, value, place),
        _ => Vec::new(),
    });
    wrong
}

fn object_misfits(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            wrong.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(known) => {
                wrong.extend(misfits(document, known, field, &format!("{place}/{name}")));
            }
            None if schema["additionalProperties"] == false => {
                wrong.push(format!("{place}: nobody knows {name}"));
            }
            None => {}
        }
    }
    wrong
}

fn text_misfits(schema: &Value, text: &str, place: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let does_not_match = |pattern: &str| {
        !Regex::new(pattern).unwrap_or_else(|e| panic!("{place}: {e}")).is_match(text)
    };
    let moment = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$";
    let patterns = schema["pattern"].as_str().into_iter();
    for pattern in patterns.chain((schema["format"] == "date-time").then_some(moment)) {
        if does_not_match(pattern) {
            wrong.push(format!("{place}: {text:?} does not match {pattern}"));
        }
    }
    if outside(schema, "minLength", "maxLength", text.chars().count()) {
        wrong.push(format!("{place}: {text:?} is too short or too long"));
    }
    let listed = schema["enum"].as_array();
    if listed.is_some_and(|listed| !listed.iter().any(|known| known == text)) {
        wrong.push(format!("{place}: {text:?} is not on the list"));
    }
    wrong
}

fn outside(schema: &Value, least: &str, most: &str, length: usize) -> bool {
    let length = length as u64;
    schema[least].as_u64().is_some_and(|least| length < least)
        || schema[most].as_u64().is_some_and(|most| length > most)
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
