//! The parts of a schema: what is refused, and where each one's cost is counted.
//!
//! A part `{…}` becomes `{"allOf": [{"!cost": …}, {…}]}`, for a keyword of ours beside the others would
//! be asked after them, or not at all. References are turned to where things are then.

use std::collections::HashMap;

use jsonschema::Draft;
use serde_json::{Map, Value};

use crate::schema::{BYTES_MAX, Patterns, Violation, escaped};
use crate::schema_cost::{Cost, KEYWORD};

const DEPTH_MAX: usize = 32;
const PATTERNS_MAX: usize = 50;

/// Keywords that hold a schema, or a list of them.
const ONE: [&str; 10] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
];
const MANY: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords that hold schemas by name.
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// Keywords whose cost cannot be told from what they are written in.
const REFUSED: [(&str, &str); 4] = [
    ("$dynamicRef", "use $ref"),
    ("$recursiveRef", "use $ref"),
    ("unevaluatedItems", "use items: false beside prefixItems"),
    ("unevaluatedProperties", "use additionalProperties"),
];

/// A schema that can be compiled.
pub(crate) struct Prepared {
    pub(crate) schema: Value,
    pub(crate) draft: Draft,
    pub(crate) patterns: Patterns,
    /// Where each part is now, and where it was.
    places: Vec<(String, String)>,
}

impl Prepared {
    /// The place in the schema as it came.
    pub(crate) fn place(&self, pointer: &str) -> String {
        let under = |now: &str| {
            let rest = pointer.strip_prefix(now)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        let innermost = self.places.iter().filter(|(now, _)| under(now).is_some());
        let innermost = innermost.max_by_key(|(now, _)| now.len());
        innermost.map_or_else(String::new, |(now, was)| {
            format!("{was}{}", under(now).unwrap_or_default())
        })
    }
}

/// Looks at every part of a schema, refuses what may not be there, and lets each part count its cost.
///
/// # Errors
/// What is refused, and where.
pub(crate) fn prepare(schema: &Map<String, Value>) -> Result<Prepared, Violation> {
    if serde_json::to_string(schema).map_or(usize::MAX, |text| text.len()) > BYTES_MAX {
        return Err(Violation::at("", "a schema may be 64 KiB long"));
    }
    schema.values().try_for_each(|value| check_depth(value, 1))?;
    let (draft, mut schema, mut parts) = (draft(schema)?, schema.clone(), Parts::default());
    // Names the schema to others; here it would only change what references are relative to.
    for name in ["$id", "id"] {
        if schema.get(name).is_some_and(Value::is_string) {
            schema.remove(name);
        }
    }
    let named = schema.remove("$schema");
    parts.survey(&mut schema, "", "")?;
    parts.check_references()?;
    if parts.patterns.count > PATTERNS_MAX {
        let words = format!("a schema may have {PATTERNS_MAX} regular expressions");
        return Err(Violation::at("", words));
    }
    let mut schema = parts.counting(schema);
    if let (Some(top), Some(named)) = (schema.as_object_mut(), named) {
        top.insert("$schema".to_owned(), named);
    }
    Ok(Prepared { schema, draft, patterns: parts.patterns, places: parts.places })
}

fn check_depth(value: &Value, depth: usize) -> Result<(), Violation> {
    match value {
        Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => {
            Err(Violation::at("", format!("a schema may be nested {DEPTH_MAX} deep")))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_depth(item, depth + 1)),
        Value::Object(fields) => {
            fields.values().try_for_each(|field| check_depth(field, depth + 1))
        }
        _ => Ok(()),
    }
}

fn draft(schema: &Map<String, Value>) -> Result<Draft, Violation> {
    let Some(named) = schema.get("$schema") else { return Ok(Draft::Draft202012) };
    match named.as_str().unwrap_or_default().trim_end_matches('#') {
        "https://json-schema.org/draft/2020-12/schema" => Ok(Draft::Draft202012),
        "https://json-schema.org/draft/2019-09/schema" => Ok(Draft::Draft201909),
        "http://json-schema.org/draft-07/schema" => Ok(Draft::Draft7),
        "http://json-schema.org/draft-06/schema" => Ok(Draft::Draft6),
        "http://json-schema.org/draft-04/schema" => Ok(Draft::Draft4),
        _ => Err(Violation::at(
            "/$schema",
            "one of the drafts 4, 6, 7, 2019-09 and 2020-12, as in \
             https://json-schema.org/draft/2020-12/schema",
        )),
    }
}

/// What was seen on the way.
#[derive(Default)]
struct Parts {
    /// Where a reference may lead, as it is written, and where that is now.
    targets: HashMap<String, String>,
    /// Where references stand and lead.
    references: Vec<(String, String)>,
    patterns: Patterns,
    places: Vec<(String, String)>,
}

impl Parts {
    /// Notes what is in a part, which was at `was` and will be at `now`.
    fn survey(
        &mut self,
        part: &mut Map<String, Value>,
        was: &str,
        now: &str,
    ) -> Result<(), Violation> {
        refuse(part, was)?;
        let inner = format!("{now}/allOf/1");
        for name in names(part).chain([format!("#{was}")]) {
            self.targets.insert(name, now.to_owned());
        }
        let named = part.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
        self.patterns.count += usize::from(part.contains_key("pattern")) + named;
        if let Some(Value::String(reference)) = part.get("$ref") {
            self.references.push((format!("{was}/$ref"), reference.clone()));
        }
        for (suffix, child) in children(part) {
            let (was, now) = (format!("{was}{suffix}"), format!("{inner}{suffix}"));
            match child {
                Value::Object(child) => self.survey(child, &was, &now)?,
                Value::Bool(_) => drop(self.targets.insert(format!("#{was}"), now)),
                _ => {}
            }
        }
        self.places.push((inner, was.to_owned()));
        Ok(())
    }

    /// References lead to parts that were seen: those count their cost.
    fn check_references(&self) -> Result<(), Violation> {
        for (at, reference) in &self.references {
            let words = if !reference.starts_with('#') {
                "only references within the schema are followed, as in #/$defs/address"
            } else if !self.targets.contains_key(&decoded(reference)) {
                "leads to no schema in this document; put what you refer to under $defs"
            } else {
                continue;
            };
            return Err(Violation::at(at, words));
        }
        Ok(())
    }

    /// The part with its cost before it, and with all parts in it so.
    fn counting(&mut self, mut part: Map<String, Value>) -> Value {
        let cost = Cost::of(&part);
        self.patterns.bytes += cost.pattern_bytes();
        let cost = Map::from_iter([(KEYWORD.to_owned(), cost.to_value())]);
        for (_, child) in children(&mut part) {
            if let Value::Object(inner) = child {
                *child = self.counting(std::mem::take(inner));
            }
        }
        for name in ["$id", "id", "$anchor"] {
            if part.get(name).is_some_and(Value::is_string) {
                part.remove(name);
            }
        }
        if let Some(Value::String(reference)) = part.get_mut("$ref")
            && let Some(now) = self.targets.get(&decoded(reference))
        {
            *reference = format!("#{}", encoded(now));
        }
        let both = vec![Value::Object(cost), Value::Object(part)];
        Value::Object(Map::from_iter([("allOf".to_owned(), Value::Array(both))]))
    }
}

/// The schemas right under a part, each with where it is from there.
fn children(part: &mut Map<String, Value>) -> Vec<(String, &mut Value)> {
    let mut children = Vec::new();
    for (keyword, value) in part {
        let at = format!("/{}", escaped(keyword));
        let is_named = NAMED.contains(&keyword.as_str());
        let is_placed = ONE.contains(&keyword.as_str()) || MANY.contains(&keyword.as_str());
        if is_named {
            let named = value.as_object_mut().into_iter().flatten();
            children.extend(named.map(|(name, child)| (format!("{at}/{}", escaped(name)), child)));
        } else if is_placed && value.is_array() {
            let list = value.as_array_mut().into_iter().flatten().enumerate();
            children.extend(list.map(|(n, child)| (format!("{at}/{n}"), child)));
        } else if is_placed {
            children.push((at, value));
        }
    }
    children
}

/// Names under which a part can be referred to.
fn names(part: &Map<String, Value>) -> impl Iterator<Item = String> {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    let anchor = text("$anchor").map(|name| format!("#{name}"));
    anchor.into_iter().chain(text("$id").or_else(|| text("id")).map(ToOwned::to_owned))
}

fn refuse(part: &Map<String, Value>, at: &str) -> Result<(), Violation> {
    for (keyword, instead) in REFUSED {
        if part.contains_key(keyword) {
            let words = format!("{keyword} cannot be used: what it costs has no bound; {instead}");
            return Err(Violation::at(&format!("{at}/{keyword}"), words));
        }
    }
    if part.contains_key("$schema") {
        return Err(Violation::at(&format!("{at}/$schema"), "stands at the top of a schema alone"));
    }
    for name in ["$id", "id"] {
        // Up to draft 7 `#name` is what `$anchor` is today.
        if let Some(id) = part.get(name).and_then(Value::as_str)
            && !id.starts_with('#')
        {
            let words = "a schema within the schema has no address of its own; use $anchor";
            return Err(Violation::at(&format!("{at}/{name}"), words));
        }
    }
    Ok(())
}

/// A reference without its escapes.
fn decoded(reference: &str) -> String {
    let mut bytes = Vec::with_capacity(reference.len());
    let mut rest = reference.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *first == b'%');
        match escape.and_then(|digits| hex::decode(digits).ok()) {
            Some(byte) => {
                bytes.extend(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A JSON Pointer as a fragment of a URI.
fn encoded(pointer: &str) -> String {
    let mut fragment = String::with_capacity(pointer.len());
    for byte in pointer.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~$/".contains(&byte) {
            fragment.push(byte.into());
        } else {
            fragment.push('%');
            fragment.push_str(&hex::encode([byte]));
        }
    }
    fragment
}
