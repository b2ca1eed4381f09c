//! Examples for every operation, composed from the examples of their fields, so that none can
//! disagree with its schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Nesting that no type of ours has; a type that contains itself stops here.
const DEPTH_MAX: usize = 8;

/// An example of a value of this schema.
pub(crate) fn of(schema: &Value, schemas: &BTreeMap<String, Value>) -> Value {
    compose(schema, schemas, 0)
}

/// The schema with every reference replaced by what it refers to, so that it stands by itself.
pub(crate) fn inlined(schema: &Value, schemas: &BTreeMap<String, Value>) -> Value {
    inline(schema, schemas, 0)
}

fn inline(schema: &Value, schemas: &BTreeMap<String, Value>, depth: usize) -> Value {
    match schema {
        Value::Object(fields) => {
            let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
            let mut flat: Map<String, Value> = Map::new();
            if let Some(found) = name.filter(|_| depth < DEPTH_MAX).and_then(|n| schemas.get(n)) {
                flat.extend(
                    inline(found, schemas, depth + 1).as_object().cloned().unwrap_or_default(),
                );
            }
            let own = fields.iter().filter(|(field, _)| *field != "$ref");
            flat.extend(own.map(|(field, value)| (field.clone(), inline(value, schemas, depth))));
            Value::Object(flat)
        }
        Value::Array(items) => items.iter().map(|item| inline(item, schemas, depth)).collect(),
        plain => plain.clone(),
    }
}

fn compose(schema: &Value, schemas: &BTreeMap<String, Value>, depth: usize) -> Value {
    if let Some(example) = schema.get("example").or_else(|| schema["examples"].get(0)) {
        return example.clone();
    }
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return schemas.get(name).map_or(Value::Null, |found| compose(found, schemas, depth + 1));
    }
    // Several parts that hold together make one object; of alternatives, the first that is not null.
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().map(|part| compose(part, schemas, depth + 1));
        let fields = parts.filter_map(|part| part.as_object().cloned()).flatten();
        return Value::Object(fields.collect());
    }
    let alternatives = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(alternatives) = alternatives {
        let first = alternatives.iter().find(|alternative| alternative["type"] != "null");
        return first.map_or(Value::Null, |first| compose(first, schemas, depth + 1));
    }
    plain(schema, schemas, depth)
}

fn plain(schema: &Value, schemas: &BTreeMap<String, Value>, depth: usize) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let composed =
                fields.map(|(name, field)| (name.clone(), compose(field, schemas, depth + 1)));
            Value::Object(composed.collect::<Map<_, _>>())
        }
        Some("array") => json!([compose(&schema["items"], schemas, depth + 1)]),
        Some("string") => json!("text"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_references_and_alternatives_are_composed() {
        let schemas =
            BTreeMap::from([("Id".to_owned(), json!({"type": "string", "examples": ["id_1"]}))]);
        let schema = json!({"allOf": [
            {"type": "object", "properties": {"id": {"$ref": "#/components/schemas/Id"}}},
            {"type": "object", "properties": {
                "tags": {"type": "array", "items": {"type": "string"}},
                "by": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Id"}]},
                "kind": {"type": "string", "enum": ["live", "sandbox"]}
            }}
        ]});
        let example = json!({"id": "id_1", "tags": ["text"], "by": "id_1", "kind": "live"});
        assert_eq!(of(&schema, &schemas), example);
    }
}
