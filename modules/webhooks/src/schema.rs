//! JSON Schemas of the customers': understood when they are written, and then asked of every event.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::schema_cost::{Cost, KEYWORD, TooCostly, bounded, size};
use crate::schema_parts::prepare;

/// A schema, as JSON.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// The memory that a regular expression may take, and its states again.
pub(crate) const PATTERN_BYTES: usize = 256 * 1024;
/// Violations that are listed.
pub(crate) const LISTED_MAX: usize = 20;
/// Steps for finding every violation; a check that needs more tells of the first.
const STEPS_TO_LIST: u64 = 50_000;
const WORDS_MAX: usize = 300;

/// A schema that was understood.
pub(crate) struct Schema {
    validator: Validator,
    patterns: usize,
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
        let limits =
            PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_draft(prepared.draft)
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(limits)
            .with_keyword(KEYWORD, |_, value, _| {
                Ok(Box::new(Cost::read(value)) as Box<dyn for<'i> Keyword<'i>>)
            })
            .build(&prepared.schema)
            .map_err(|error| refused(&error, prepared.place(&error.instance_path().to_string())))?;
        Ok(Self { validator, patterns: prepared.patterns })
    }

    /// About how much memory it takes at the most, for one that was so long as JSON.
    pub(crate) fn weight(&self, bytes: usize) -> usize {
        bytes * 16 + self.patterns * PATTERN_BYTES * 2
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
    size(data).saturating_mul(64)
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
