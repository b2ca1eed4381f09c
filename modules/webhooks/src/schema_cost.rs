//! What a check against a schema may cost. A schema comes from outside, and a small one can ask for
//! more work than any machine can do: definitions that each name the next one twice, or lists in
//! lists. So each part of a schema counts its work before it does it, and a check ends where its steps
//! do.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value, json};

use crate::schema::{PATTERN_BYTES, pattern_limits};

/// The keyword by which a part of a schema counts; no name that a customer would use.
pub(crate) const KEYWORD: &str = "!cost";
/// Sizes of regular expressions are told in units.
const PATTERN_UNIT: usize = 4 * 1024;
/// How far the stack may grow in a check. A thread has 2 MiB.
const STACK_MAX: usize = 512 * 1024;

thread_local! {
    /// Steps that are left, and where the stack was when the check began.
    static LEFT: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// The check would have taken more steps, or more of the stack, than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooCostly;

/// Runs a check, which may take so many steps; those it took are taken off.
///
/// Whatever runs out of steps unwinds: the crate that validates has no other way to end early.
/// Nothing of the check is used afterwards.
pub(crate) fn bounded<T>(steps: &mut u64, check: impl FnOnce() -> T) -> Result<T, TooCostly> {
    LEFT.set((*steps, stack()));
    let outcome = catch_unwind(AssertUnwindSafe(check));
    *steps = LEFT.replace((0, 0)).0;
    outcome.map_err(|cause| if cause.is::<TooCostly>() { TooCostly } else { go_on(cause) })
}

fn go_on(cause: Box<dyn Any + Send>) -> TooCostly {
    resume_unwind(cause)
}

/// Where the stack is now.
#[inline(never)]
fn stack() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here).addr()
}

fn spend(steps: u64) {
    let (left, top) = LEFT.get();
    let Some(rest) = left.checked_sub(steps).filter(|_| top.abs_diff(stack()) < STACK_MAX) else {
        LEFT.set((0, top));
        // Unlike a panic, this calls no hook: nothing is wrong with the program.
        resume_unwind(Box::new(TooCostly));
    };
    LEFT.set((rest, top));
}

/// What one part of a schema costs, without the parts in it.
pub(crate) struct Cost {
    /// Each time it is asked.
    each: u64,
    /// Units of the regular expressions that look at a text.
    patterns: u64,
    /// Units of those that look at the name of each field.
    name_patterns: u64,
    /// Whether each item is compared with every other.
    compares: bool,
}

impl Cost {
    /// Of this part.
    pub(crate) fn of(part: &Map<String, Value>) -> Self {
        let each = part.iter().map(|(keyword, value)| match keyword.as_str() {
            "enum" | "const" | "required" | "dependentRequired" => size(value),
            _ => 1 + value.as_array().map_or(0, |list| count(list.len())).max(fields(value)),
        });
        let names = part.get("patternProperties").and_then(Value::as_object);
        Self {
            each: 1 + each.sum::<u64>(),
            patterns: part.get("pattern").and_then(Value::as_str).map_or(0, pattern_units),
            name_patterns: names.map_or(0, |names| names.keys().map(|n| pattern_units(n)).sum()),
            compares: part.get("uniqueItems") == Some(&Value::Bool(true)),
        }
    }

    /// The size of its regular expressions.
    pub(crate) fn pattern_bytes(&self) -> usize {
        usize::try_from(self.patterns + self.name_patterns).unwrap_or(usize::MAX) * PATTERN_UNIT
    }

    /// As the value of the keyword.
    pub(crate) fn to_value(&self) -> Value {
        json!([self.each, self.patterns, self.name_patterns, self.compares])
    }

    /// Back from there.
    pub(crate) fn read(value: &Value) -> Self {
        let number = |at: usize| value[at].as_u64().unwrap_or_default();
        Self {
            each: number(0),
            patterns: number(1),
            name_patterns: number(2),
            compares: value[3] == true,
        }
    }

    fn steps(&self, instance: &Value) -> u64 {
        let own = match instance {
            Value::String(text) => {
                let length = count(text.len());
                // A check has eight steps for each character: enough for one of the largest.
                length / 8 + length.saturating_mul(self.patterns) / 2
            }
            Value::Array(items) if self.compares => {
                size(instance).saturating_add(count(items.len()))
            }
            Value::Array(items) => count(items.len()),
            Value::Object(fields) if self.name_patterns > 0 => {
                let names: u64 = fields.keys().map(|name| 1 + count(name.len()) / 2).sum();
                names.saturating_mul(self.name_patterns)
            }
            Value::Object(fields) => count(fields.len()),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        };
        self.each.saturating_add(own)
    }
}

impl<'i> Keyword<'i> for Cost {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        spend(self.steps(instance));
        Ok(())
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        spend(self.steps(instance));
        true
    }
}

/// How large a regular expression is, in units: in the worst case the time for each character of a
/// text grows with it. One that cannot be compiled is told of later.
fn pattern_units(pattern: &str) -> u64 {
    let schema = json!({"pattern": pattern});
    let fits = |units: &u64| {
        let bytes = usize::try_from(*units).unwrap_or(usize::MAX) * PATTERN_UNIT;
        let limited = jsonschema::options().offline().with_pattern_options(pattern_limits(bytes));
        limited.build(&schema).is_ok()
    };
    let all = count(PATTERN_BYTES / PATTERN_UNIT);
    [1, all / 4].into_iter().find(fits).unwrap_or(all)
}

/// How many values there are in a value, long texts counting for more.
pub(crate) fn size(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(size).sum::<u64>() + 1,
        Value::Object(fields) => fields_size(fields),
        Value::String(text) => 1 + count(text.len()) / 8,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// As [`size`], of an object.
pub(crate) fn fields_size(fields: &Map<String, Value>) -> u64 {
    let each = fields.iter().map(|(name, value)| 1 + count(name.len()) / 8 + size(value));
    each.sum::<u64>() + 1
}

fn fields(value: &Value) -> u64 {
    value.as_object().map_or(0, |fields| count(fields.len()))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
