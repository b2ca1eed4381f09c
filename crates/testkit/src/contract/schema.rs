//! Reads JSON schemas as far as it takes to write a value that must be refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The named schemas of a document.
#[derive(Clone)]
pub(super) struct Schemas(Value);

impl Schemas {
    pub(super) fn of(document: &Value) -> Self {
        Self(document["components"]["schemas"].clone())
    }

    /// The schema itself, where there is only its name.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        reference.map_or(schema, |name| self.resolve(&self.0[name]))
    }

    /// The properties of an object, with their schemas; of alternatives, those of each.
    pub(super) fn properties<'a>(&'a self, schema: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let schema = self.resolve(schema);
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut properties: Vec<_> = own.map(|(name, schema)| (name.as_str(), schema)).collect();
        for choice in schema["oneOf"].as_array().into_iter().flatten() {
            let all = self.properties(choice).into_iter();
            let new: Vec<_> =
                all.filter(|(name, _)| properties.iter().all(|(known, _)| known != name)).collect();
            properties.extend(new);
        }
        properties
    }

    /// Whether an empty object lacks something.
    pub(super) fn requires_something(&self, schema: &Value) -> bool {
        let schema = self.resolve(schema);
        match schema["oneOf"].as_array() {
            Some(choices) => choices.iter().all(|choice| {
                self.resolve(choice)["type"] != "object" || self.requires_something(choice)
            }),
            None => schema["required"].as_array().is_some_and(|names| !names.is_empty()),
        }
    }

    /// Whether whole numbers are what the schema takes.
    pub(super) fn is_integer(&self, schema: &Value) -> bool {
        self.types(schema).is_some_and(|types| types.contains("integer"))
    }

    /// One value of each JSON type that the schema does not take.
    pub(super) fn wrong_values(&self, schema: &Value) -> Vec<Value> {
        let Some(types) = self.types(schema) else { return Vec::new() };
        let of_each_type = [
            ("boolean", json!(true)),
            ("number", json!(12.5)),
            ("string", json!("text")),
            ("array", json!([])),
            ("object", json!({})),
            ("null", json!(null)),
        ];
        let wrong = of_each_type.into_iter().filter(|(name, _)| !types.contains(*name));
        wrong.map(|(_, value)| value).collect()
    }

    /// The JSON types that a schema takes; `None` when it does not say.
    fn types(&self, schema: &Value) -> Option<BTreeSet<String>> {
        let schema = self.resolve(schema);
        match &schema["type"] {
            Value::String(name) => return Some(BTreeSet::from([name.clone()])),
            Value::Array(names) => {
                return names.iter().map(|name| name.as_str().map(ToOwned::to_owned)).collect();
            }
            _ => {}
        }
        let choices = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
        if let Some(choices) = choices {
            let types: Option<Vec<_>> = choices.iter().map(|choice| self.types(choice)).collect();
            return types.map(|types| types.into_iter().flatten().collect());
        }
        schema["allOf"].as_array()?.iter().find_map(|part| self.types(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_every_type_the_schema_does_not_take_is_wrong() {
        let document = json!({"components": {"schemas": {
            "Id": {"type": "string"},
            "New": {"type": "object", "required": ["id"], "properties": {
                "id": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Id"}]},
                "count": {"type": "integer"},
                "anything": {},
            }},
        }}});
        let schemas = Schemas::of(&document);
        let body = json!({"$ref": "#/components/schemas/New"});
        assert!(schemas.requires_something(&body));
        let wrong = |name: &str| {
            let properties = schemas.properties(&body);
            let (_, schema) = properties.into_iter().find(|(known, _)| *known == name).unwrap();
            schemas.wrong_values(schema)
        };
        assert_eq!(wrong("id"), [json!(true), json!(12.5), json!([]), json!({})]);
        assert_eq!(wrong("count").len(), 6, "12.5 is a number and no integer");
        assert!(wrong("anything").is_empty());
    }
}
