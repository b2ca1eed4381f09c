//! JSON Schemas of the customers': understood when they are written, and then asked of every event.

use freehold_kernel::{Error, Result as Outcome};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Keyword, PatternOptions, Regex, ValidationError, Validator};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::schema_cost::{Cost, KEYWORD, TooCostly, bounded, fields_size, size};
use crate::schema_parts::prepare;

/// A schema, as JSON.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// The memory that a regular expression may take, and its states again.
pub(crate) const PATTERN_BYTES: usize = 64 * 1024;
/// Violations that are listed.
pub(crate) const LISTED_MAX: usize = 20;
/// Steps for finding every violation; a check that needs more tells of the first.
const STEPS_TO_LIST: u64 = 50_000;
/// Steps for each value that is checked, long texts counting for more.
const STEPS_FOR_SIZE: u64 = 64;
const WORDS_MAX: usize = 300;
/// Schemas that are being compiled; more wait, and leave the processors to others.
static COMPILING: Semaphore = Semaphore::const_new(2);

/// A schema that was understood.
pub(crate) struct Schema {
    validator: Validator,
    patterns: Patterns,
}

/// The regular expressions of a schema.
#[derive(Clone, Copy, Default)]
pub(crate) struct Patterns {
    pub(crate) count: usize,
    /// Their sizes together.
    pub(crate) bytes: usize,
}

/// Where something is not as it must be, and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where: a JSON Pointer.
    pub(crate) pointer: String,
    /// What, in words.
    pub(crate) words: String,
}

impl Violation {
    pub(crate) fn at(pointer: &str, words: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), words: words.into() }
    }
}

impl Schema {
    /// Understands a schema.
    ///
    /// # Errors
    /// What is wrong with it and where, from its own top.
    pub(crate) fn understand(schema: &Map<String, Value>) -> Result<Self, Violation> {
        let prepared = prepare(schema)?;
        let validator = jsonschema::options()
            .with_draft(prepared.draft)
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(pattern_limits(PATTERN_BYTES))
            .with_keyword(KEYWORD, |_, value, _| {
                Ok(Box::new(Cost::read(value)) as Box<dyn for<'i> Keyword<'i>>)
            })
            .build(&prepared.schema)
            .map_err(|error| refused(&error, prepared.place(&error.instance_path().to_string())))?;
        Ok(Self { validator, patterns: prepared.patterns })
    }

    /// About how much memory it takes, for one that was so long as JSON. What a regular expression
    /// keeps once it was asked is measured, with texts that are often sent; texts that are made for it
    /// let it keep five times as much.
    pub(crate) fn weight(&self, bytes: usize) -> usize {
        bytes * 16 + self.patterns.count * 16 * 1024 + self.patterns.bytes * 4
    }

    /// How many regular expressions there are in it.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns.count
    }

    /// What of the data is not as the schema says. The steps of the check are taken off.
    ///
    /// # Errors
    /// When there are not enough steps.
    pub(crate) fn violations(
        &self,
        data: &Value,
        steps: &mut u64,
    ) -> Result<Vec<Violation>, TooCostly> {
        if bounded(steps, || self.validator.is_valid(data))? {
            return Ok(Vec::new());
        }
        let mut to_list = STEPS_TO_LIST;
        let all = || self.validator.iter_errors(data).take(LISTED_MAX).map(|e| told(&e)).collect();
        if let Ok(violations) = bounded(&mut to_list, all) {
            return Ok(violations);
        }
        let first = || self.validator.validate(data).err().map(|error| told(&error));
        Ok(bounded(steps, first)?.into_iter().collect())
    }
}

/// Steps for a check of data of this size.
pub(crate) fn steps_for(data: &Value) -> u64 {
    size(data).saturating_mul(STEPS_FOR_SIZE)
}

/// As [`steps_for`], where the data is an object.
pub(crate) fn steps_for_fields(data: &Map<String, Value>) -> u64 {
    fields_size(data).saturating_mul(STEPS_FOR_SIZE)
}

/// Does what may take a tenth of a second on a thread that nobody else waits for.
///
/// # Errors
/// When it panics.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    let turn = COMPILING.acquire().await.map_err(Error::internal)?;
    let work = tokio::task::spawn_blocking(move || {
        // Goes with the work: a request that gives up does not end what it began.
        let _turn = turn;
        work()
    });
    work.await.map_err(Error::internal)
}

/// How large a regular expression may be.
pub(crate) fn pattern_limits(bytes: usize) -> PatternOptions<Regex> {
    PatternOptions::regex().size_limit(bytes).dfa_size_limit(PATTERN_BYTES)
}

/// What was found, without what the sender sent.
fn told(error: &ValidationError<'_>) -> Violation {
    let mut pointer = error.instance_path().to_string();
    if let ValidationErrorKind::Required { property: Value::String(name) } = error.kind() {
        pointer = format!("{pointer}/{}", escaped(name));
        return Violation { pointer, words: "missing".to_owned() };
    }
    Violation { pointer, words: shortened(&error.masked_with("the value").to_string()) }
}

fn refused(error: &ValidationError<'_>, pointer: String) -> Violation {
    let words = match error.kind() {
        ValidationErrorKind::Format { format } if format == "regex" => {
            "not a regular expression that can be used: no look-around, no backreferences, and not \
             too large"
                .to_owned()
        }
        _ => shortened(&error.to_string()),
    };
    Violation { pointer, words }
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(WORDS_MAX) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.to_owned(),
    }
}

/// A name as part of a JSON Pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn understood(schema: &Value) -> Result<Schema, Violation> {
        Schema::understand(schema.as_object().unwrap())
    }

    /// Chains of definitions, each leading to the next one in this way, as long as a schema may be.
    fn chain(link: &dyn Fn(Value) -> Value, draft: &str) -> Value {
        let each = link(json!({"$ref": "#/definitions/1000"})).to_string().len() + 9;
        let length = (BYTES_MAX - 200) / each;
        let link = |n| link(json!({"$ref": format!("#/definitions/{}", n + 1)}));
        let mut links: Map<String, Value> = (0..length).map(|n| (n.to_string(), link(n))).collect();
        links.insert(length.to_string(), json!({"type": "array"}));
        json!({"$schema": draft, "definitions": links, "$ref": "#/definitions/0"})
    }

    #[test]
    fn the_longest_chains_leave_room_on_the_stack() {
        type Link = fn(Value) -> Value;
        let links: [(&str, Link); 6] = [
            ("alone", |next| next),
            ("allOf", |next| json!({"allOf": [next]})),
            ("not", |next| json!({"not": next})),
            ("if", |next| json!({"if": next})),
            ("properties", |next| json!({"properties": {"a": next}})),
            ("items", |next| json!({"items": next})),
        ];
        let drafts = [
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2020-12/schema",
        ];
        let objects = (0..60).fold(json!(1), |inner, _| json!({"a": inner}));
        let lists = (0..60).fold(json!(1), |inner, _| json!([inner]));
        for ((name, link), draft) in links.iter().flat_map(|link| drafts.map(|draft| (link, draft)))
        {
            let (schema, data) = (chain(link, draft), [objects.clone(), lists.clone()]);
            let check = move || {
                let schema = understood(&schema).unwrap();
                for data in &data {
                    let _ = schema.violations(data, &mut 1_000_000);
                }
            };
            // Half of what a thread has.
            let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(check);
            assert!(thread.unwrap().join().is_ok(), "{name}, {draft}");
        }
    }

    #[test]
    fn a_check_without_steps_ends_and_one_that_is_cut_short_leaves_nothing_behind() {
        let schema = understood(&json!({"required": ["a"]})).unwrap();
        let data = json!({"b": 1});
        assert_eq!(schema.violations(&data, &mut 0), Err(TooCostly));
        let mut steps = 100;
        assert_eq!(schema.violations(&data, &mut steps).unwrap()[0].pointer, "/a");
        assert!(steps < 100);
    }

    #[test]
    fn regular_expressions_that_are_often_written_are_small_enough() {
        let weight = |pattern: &str| {
            let understood = understood(&json!({"pattern": pattern}));
            understood.map(|schema| schema.weight(0) / 1024)
        };
        for (pattern, kib) in [
            ("^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$", 32),
            ("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", 32),
            (r"^\+[1-9]\d{1,14}$", 32),
            ("^[a-f0-9]{64}$", 80),
            (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", 80),
            ("^[a-z0-9_-]{1,128}$", 272),
            (r"^[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z]{2,63})+$", 80),
            (r"^\p{L}+$", 272),
        ] {
            assert_eq!(weight(pattern), Ok(kib), "{pattern}");
        }
        for pattern in [r"^\p{L}{1,50}$", "^.{1,255}$"] {
            assert!(weight(pattern).is_err(), "{pattern}");
        }
    }

    fn data() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            (-2..5).prop_map(Value::from),
            "[ab]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn part(leaf: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
        leaf.prop_recursive(4, 24, 3, |inner| {
            let list = || prop::collection::vec(inner.clone(), 1..3);
            prop_oneof![
                list().prop_map(|all| json!({"allOf": all})),
                list().prop_map(|all| json!({"anyOf": all, "title": "t"})),
                list().prop_map(|all| json!({"oneOf": all, "minItems": 1})),
                inner.clone().prop_map(|one| json!({"not": one})),
                inner.clone().prop_map(|one| json!({"items": one, "uniqueItems": true})),
                inner.clone().prop_map(|one| json!({"contains": one})),
                inner.clone().prop_map(|one| json!({"propertyNames": one})),
                (inner.clone(), inner.clone()).prop_map(
                    |(a, rest)| json!({"properties": {"a": a}, "additionalProperties": rest})
                ),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| json!({"if": a, "then": b, "else": false})),
                (inner.clone(), inner.clone()).prop_map(
                    |(a, b)| json!({"patternProperties": {"^a": a}, "dependencies": {"b": b}})
                ),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| json!({"prefixItems": [a, true], "items": b})),
            ]
        })
    }

    fn schema() -> impl Strategy<Value = Value> {
        let leaf = || {
            prop_oneof![
                any::<bool>().prop_map(Value::from),
                prop::sample::select(vec!["object", "array", "string", "integer"])
                    .prop_map(|kind| json!({"type": kind})),
                Just(json!({"required": ["a"]})),
                Just(json!({"minimum": 2, "maxLength": 1})),
                Just(json!({"enum": [1, "a", {"a": 1}]})),
                Just(json!({"pattern": "^a"})),
            ]
        };
        let defined = (part(leaf().boxed()), part(leaf().boxed()));
        let reference = prop::sample::select(vec!["#/$defs/a", "#/$defs/b~1%20c"])
            .prop_map(|place| json!({"$ref": place, "minProperties": 1}));
        let drafts = vec![
            "http://json-schema.org/draft-04/schema#",
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2019-09/schema",
            "https://json-schema.org/draft/2020-12/schema",
        ];
        let whole = part(prop_oneof![leaf(), reference].boxed());
        (defined, whole, prop::sample::select(drafts)).prop_map(|((a, b), whole, draft)| {
            json!({"$schema": draft, "$defs": {"a": a, "b/ c": b}, "allOf": [whole]})
        })
    }

    proptest! {
        #[test]
        fn counting_the_cost_changes_nothing_about_what_is_valid(schema in schema(), data in data()) {
            let plain = jsonschema::options().should_validate_formats(false).build(&schema);
            let ours = understood(&schema);
            prop_assert_eq!(plain.is_ok(), ours.is_ok());
            if let (Ok(plain), Ok(ours)) = (plain, ours) {
                let found = ours.violations(&data, &mut 1_000_000).unwrap();
                prop_assert_eq!(plain.is_valid(&data), found.is_empty(), "{:?}", found);
            }
        }
    }
}
