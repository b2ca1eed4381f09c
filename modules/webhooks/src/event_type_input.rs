//! What a kind of event of the customer's own is made from and changed by, and what is refused.

use freehold_kernel::crypto::sha256_plain;
use freehold_kernel::{Error, Patch, Result};
use garde::Validate;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::catalogue::mismatches;
use crate::events::type_name;
use crate::schema::{Schema, aside, steps_for_fields};

/// A sample, as JSON.
const SAMPLE_BYTES_MAX: usize = 64 * 1024;
/// What a regular expression counts for, where the sizes of all types are counted: all of a tenant's
/// together are bounded so, to a thousand.
const PATTERN_COUNTS: usize = 4 * 1024;
/// Steps for checking a sample, besides what its size allows: as for a request with that event alone.
const STEPS: u64 = 100_000;

/// A kind of event to declare.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewEventType)]
pub(crate) struct NewEventType {
    /// What happened, in words of your own, as in `order.paid`. Freehold's own words are refused.
    #[garde(length(min = 1, max = 128), custom(type_name))]
    #[schema(example = "order.paid", pattern = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$", max_length = 128)]
    pub(crate) name: String,
    /// What it means, for those who subscribe.
    #[serde(default)]
    #[garde(length(chars, max = 500))]
    #[schema(example = "An order was paid in full.", max_length = 500)]
    pub(crate) description: String,
    /// JSON Schema that the `data` of each event must satisfy, at most 64 KiB; absent: whatever is
    /// sent.
    #[garde(skip)]
    #[schema(
        value_type = Option<Object>,
        example = json!({"type": "object", "required": ["orderId"], "properties": {"orderId": {"type": "string"}}})
    )]
    pub(crate) schema: Option<Map<String, Value>>,
    /// An example of `data`, at most 64 KiB; must satisfy the schema.
    #[garde(inner(custom(check_sample)))]
    #[schema(value_type = Option<Object>, example = json!({"orderId": "A-1001"}))]
    pub(crate) sample: Option<Map<String, Value>>,
    /// Whether nobody should begin to use it.
    #[serde(default)]
    #[garde(skip)]
    #[schema(example = false)]
    pub(crate) deprecated: bool,
}

/// What may be changed about a kind of event; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::UpdateEventType)]
pub(crate) struct UpdateEventType {
    /// What it means; null for nothing.
    #[serde(default)]
    #[garde(inner(length(chars, max = 500)))]
    #[schema(value_type = Option<String>, example = "An order was paid in full.", max_length = 500)]
    pub(crate) description: Patch<String>,
    /// Another schema, whole; null for none.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<Object>, example = json!({"type": "object"}))]
    pub(crate) schema: Patch<Map<String, Value>>,
    /// Another sample, whole; null for none. The sample that there is then must satisfy the schema.
    #[serde(default)]
    #[garde(inner(custom(check_sample)))]
    #[schema(value_type = Option<Object>, example = json!({"orderId": "A-1001"}))]
    pub(crate) sample: Patch<Map<String, Value>>,
    /// Whether nobody should begin to use it.
    #[garde(skip)]
    #[schema(example = true)]
    pub(crate) deprecated: Option<bool>,
}

/// A rule for garde: a sample that fits.
fn check_sample(sample: &Map<String, Value>, _: &()) -> garde::Result {
    if length(sample) <= SAMPLE_BYTES_MAX {
        return Ok(());
    }
    Err(garde::Error::new("at most 64 KiB"))
}

/// A schema that was understood, and a sample that satisfies it.
pub(crate) struct Checked {
    pub(crate) schema: Option<Map<String, Value>>,
    pub(crate) sample: Option<Map<String, Value>>,
    patterns: usize,
}

impl Checked {
    /// Refuses what cannot be understood, and a sample that does not fit.
    pub(crate) async fn of(
        schema: Option<Map<String, Value>>,
        sample: Option<Map<String, Value>>,
    ) -> Result<Self> {
        match schema {
            Some(schema) => aside(move || Self::understood(schema, sample)).await?,
            None => Ok(Self { schema, sample, patterns: 0 }),
        }
    }

    fn understood(schema: Map<String, Value>, sample: Option<Map<String, Value>>) -> Result<Self> {
        let understood = Schema::understand(&schema).map_err(|found| {
            let pointer = format!("/schema{}", found.pointer);
            Error::invalid(pointer, "webhooks.schema_refused", found.words)
        })?;
        if let Some(sample) = &sample {
            check_fits(&understood, sample)?;
        }
        Ok(Self { schema: Some(schema), sample, patterns: understood.patterns() })
    }

    /// Names the schema by what it says.
    pub(crate) fn digest(&self) -> Option<Vec<u8>> {
        let text = serde_json::to_vec(self.schema.as_ref()?).unwrap_or_default();
        Some(sha256_plain(&text).to_vec())
    }

    /// How long both are, regular expressions counting for more.
    pub(crate) fn bytes(&self) -> i32 {
        let all = self.schema.as_ref().map_or(0, length)
            + self.sample.as_ref().map_or(0, length)
            + self.patterns * PATTERN_COUNTS;
        i32::try_from(all).unwrap_or(i32::MAX)
    }
}

fn check_fits(schema: &Schema, sample: &Map<String, Value>) -> Result<()> {
    let mut steps = STEPS.saturating_add(steps_for_fields(sample));
    let sample = Value::Object(sample.clone());
    let violations = schema.violations(&sample, &mut steps).map_err(|_| {
        let words = "the sample takes too many steps to check against it; make it simpler";
        Error::invalid("/schema", "webhooks.schema_refused", words)
    })?;
    if violations.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_fields(mismatches("/sample", violations).collect()))
}

fn length(fields: &Map<String, Value>) -> usize {
    serde_json::to_string(fields).map_or(usize::MAX, |text| text.len())
}
