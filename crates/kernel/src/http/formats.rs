//! Formats of text that the API names. A type says `#[schema(format = "name")]`; the pattern that
//! goes with it is written once, here, beside the rule that checks it (`crate::rules`).

use serde_json::{Map, Value};

/// Name, pattern, and the most characters unless the field says fewer. Patterns keep to what every
/// dialect reads alike: no lookaround, no `\p`.
const FORMATS: [(&str, &str, u32); 5] = [
    // Not empty, no control characters, no spaces around it.
    ("name", r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$", 200),
    ("slug", r"^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$", 40),
    // Shapes: which zones, languages and currencies there are, a pattern cannot say.
    ("time-zone", r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", 64),
    ("locale", r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", 35),
    ("currency", r"^[A-Z]{3}$", 3),
];

/// Formats that need no pattern of ours: those of JSON Schema and OpenAPI, and ids, whose pattern
/// holds their prefix.
const KNOWN: [&str; 8] =
    ["date-time", "double", "email", "int32", "int64", "typeid", "uri", "uuid"];

/// Adds to every text of a named format its pattern and its bound.
pub(super) fn spell_out(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some((_, pattern, length_max)) = format_of(fields).and_then(named) {
                fields.entry("pattern").or_insert_with(|| pattern.into());
                fields.entry("maxLength").or_insert_with(|| length_max.into());
            }
            fields.values_mut().for_each(spell_out);
        }
        Value::Array(items) => items.iter_mut().for_each(spell_out),
        _ => {}
    }
}

/// The formats in a document that nobody knows, which are misspelt.
pub(super) fn unknown(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => {
            let own = format_of(fields)
                .filter(|name| !KNOWN.contains(name) && named(name).is_none())
                .map(|name| format!("format {name}: nobody knows it; see kernel::http::formats"));
            own.into_iter().chain(fields.values().flat_map(unknown)).collect()
        }
        Value::Array(items) => items.iter().flat_map(unknown).collect(),
        _ => Vec::new(),
    }
}

/// A property may be called `format` too; its value is a schema and no text.
fn format_of(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("type")?;
    fields.get("format")?.as_str()
}

fn named(format: &str) -> Option<(&'static str, &'static str, u32)> {
    FORMATS.into_iter().find(|(name, ..)| *name == format)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;
    use serde_json::json;

    use super::*;
    use crate::{directory, rules};

    fn fits(format: &str, text: &str) -> bool {
        let (_, pattern, length_max) = named(format).unwrap();
        let length = u32::try_from(text.chars().count()).unwrap();
        length <= length_max && Regex::new(pattern).unwrap().is_match(text)
    }

    #[test]
    fn a_named_format_gets_its_pattern_and_a_misspelt_one_is_found() {
        let mut schema = json!({"type": "object", "properties": {
            "format": {"type": "string", "format": "slug"},
            "list": {"type": "array", "items": {"type": ["string", "null"], "format": "currency"}},
            "odd": {"type": "string", "format": "slog"},
        }});
        spell_out(&mut schema);
        assert_eq!(schema["properties"]["format"]["maxLength"], 40);
        assert_eq!(schema["properties"]["list"]["items"]["pattern"], "^[A-Z]{3}$");
        assert_eq!(unknown(&schema).len(), 1, "{:?}", unknown(&schema));
    }

    #[test]
    fn every_zone_and_currency_has_the_shape_that_its_pattern_says() {
        for zone in jiff::tz::db().available() {
            assert!(fits("time-zone", zone.as_str()), "{zone}");
        }
        for code in ["EUR", "NGN", "USD", "XAF"] {
            assert!(fits("currency", code) && rules::currency(code, &()).is_ok());
        }
    }

    proptest! {
        #[test]
        fn the_pattern_of_a_name_takes_what_its_rule_takes(name in "[\\s\\PC\\pC]{0,6}") {
            prop_assert_eq!(fits("name", &name), rules::readable(&name, &()).is_ok());
        }

        #[test]
        fn the_pattern_of_a_slug_takes_what_its_rule_takes(slug in "[a-zA-Z0-9-]{0,42}") {
            let reserved = directory::check_slug(&slug, "")
                .is_err_and(|refusal| refusal.fields()[0].code == "core.reserved");
            prop_assert_eq!(
                fits("slug", &slug),
                reserved || directory::check_slug(&slug, "").is_ok()
            );
        }

        #[test]
        fn the_pattern_of_a_locale_takes_what_its_rule_takes(tag in "[a-zA-Z]{1,4}(-[a-zA-Z0-9]{1,9}){0,3}") {
            prop_assert_eq!(fits("locale", &tag), rules::locale(&tag, &()).is_ok());
        }
    }
}
