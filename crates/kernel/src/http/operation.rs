//! One operation of the API, described by the inputs and the output of its handler.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::formats;
use super::handler::ErasedEndpoint;
use super::routes::Route;

/// One operation, as the inputs and the output of a handler describe it.
#[derive(Default)]
pub struct Operation {
    pub(super) segments: Vec<Value>,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Value>,
    pub(super) answer: Option<(u16, Value)>,
    pub(super) schemas: BTreeMap<String, Value>,
    pub(super) clashes: Vec<SchemaConflict>,
    pub(super) errors: Vec<&'static str>,
    pub(super) in_transaction: bool,
}

/// Two types that would share one schema name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaConflict(pub String);

impl Operation {
    pub(crate) fn of(route: &Route) -> Self {
        Self::by(&route.endpoint)
    }

    pub(super) fn by(endpoint: &ErasedEndpoint) -> Self {
        let mut operation = Self::default();
        (endpoint.describe)(&mut operation);
        operation
    }

    /// The query parameters, in the order they are described.
    pub(super) fn query_names(&self) -> Vec<String> {
        let queries = self.parameters.iter().filter(|parameter| parameter["in"] == "query");
        queries.filter_map(|query| query["name"].as_str().map(ToOwned::to_owned)).collect()
    }

    pub(super) fn takes_json<T: ToSchema>(&mut self) {
        let schema = self.reference::<T>();
        self.takes_body(&schema);
    }

    pub(super) fn takes_one_or_many<T: ToSchema>(&mut self, max: usize) {
        let one = self.reference::<T>();
        let many = json!({"type": "array", "items": one, "minItems": 1, "maxItems": max});
        self.takes_body(&json!({"oneOf": [one, many]}));
    }

    fn takes_body(&mut self, schema: &Value) {
        self.body =
            Some(json!({"required": true, "content": {"application/json": {"schema": schema}}}));
        for code in
            ["core.malformed_json", "core.json_too_deep", "core.unsupported_type", "core.invalid"]
        {
            self.refuses(code);
        }
    }

    pub(super) fn takes_segments(&mut self, schemas: Vec<Value>) {
        self.segments = schemas;
        self.refuses("core.not_found");
    }

    pub(super) fn takes_header(&mut self, name: &str, description: &str, schema: &Value) {
        self.parameters.push(json!({
            "name": name, "in": "header", "description": description, "schema": schema
        }));
        self.refuses("core.invalid");
    }

    pub(super) fn takes_page(&mut self, default: u16, max: u16) {
        self.parameters.push(json!({
            "name": "limit", "in": "query", "description": "How many to answer at the most",
            "schema": {"type": "integer", "minimum": 1, "maximum": max, "default": default}
        }));
        self.parameters.push(json!({
            "name": "cursor", "in": "query",
            "description": "`nextCursor` of the page before, with the same filters",
            "schema": {"type": "string", "maxLength": 1024}
        }));
        self.refuses("core.invalid");
    }

    /// Each property of `F` becomes a query parameter.
    pub(super) fn takes_query<F: ToSchema>(&mut self) {
        let schema = written(F::schema());
        let required: Vec<&str> = strings(&schema["required"]);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut property = not_null(property);
            let description = property.as_object_mut().and_then(|p| p.remove("description"));
            self.parameters.push(json!({
                "name": name, "in": "query", "description": description,
                "required": required.contains(&name.as_str()), "schema": property
            }));
        }
        let mut nested = Vec::new();
        F::schemas(&mut nested);
        self.add(nested);
    }

    pub(super) fn takes_transaction(&mut self) {
        self.in_transaction = true;
    }

    pub(super) fn answers_json<T: ToSchema>(&mut self, status: u16, description: &str) {
        let schema = self.reference::<T>();
        self.answers(status, description, Some(schema));
    }

    pub(super) fn answers_page<T: ToSchema>(&mut self) {
        let item = self.reference::<T>();
        let schema = json!({
            "type": "object", "required": ["data", "nextCursor"],
            "properties": {
                "data": {"type": "array", "items": item, "description": "The page, newest first"},
                "nextCursor": {"type": ["string", "null"], "description": "For the next page; null on the last"}
            }
        });
        self.answers(200, "One page", Some(schema));
    }

    pub(super) fn answers_nothing(&mut self, status: u16, description: &str) {
        self.answers(status, description, None);
    }

    pub(super) fn answers_header(&mut self, name: &str, description: &str) {
        if let Some((_, answer)) = &mut self.answer {
            answer["headers"][name] =
                json!({"description": description, "schema": {"type": "string"}});
        }
    }

    pub(super) fn refuses(&mut self, code: &'static str) {
        self.errors.push(code);
    }

    pub(crate) fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    pub(crate) fn into_clashes(self) -> Vec<SchemaConflict> {
        self.clashes
    }

    fn answers(&mut self, status: u16, description: &str, schema: Option<Value>) {
        let mut answer = json!({"description": description});
        if let Some(schema) = schema {
            answer["content"] = json!({"application/json": {"schema": schema}});
        }
        self.answer = Some((status, answer));
    }

    pub(super) fn reference<T: ToSchema>(&mut self) -> Value {
        let mut nested = Vec::new();
        T::schemas(&mut nested);
        nested.push((T::name().into_owned(), T::schema()));
        self.add(nested);
        json!({"$ref": format!("#/components/schemas/{}", T::name())})
    }

    fn add(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in schemas {
            let schema = written(schema);
            let known = self.schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            if *known != schema {
                self.clashes.push(SchemaConflict(name));
            }
        }
    }
}

/// The schema of what may be absent, where it is there: a query cannot say null.
fn not_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let mut others = choices.filter(|choice| choice["type"] != "null");
    if let (Some(only), None) = (others.next(), others.next()) {
        return only.clone();
    }
    if let Some(types) = schema["type"].as_array_mut() {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    schema
}

fn written(schema: RefOr<Schema>) -> Value {
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    formats::spell_out(&mut schema);
    schema
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
