//! Filters: which events an endpoint wants by what they say. A filter is the expression of a filter
//! selector of JSONPath (RFC 9535, 2.3.5) in which `@` is the event's `data`:
//! `@.total > 100 && @.currency == 'EUR'`.

use serde_json::Value;
use serde_json_path::JsonPath;

/// A filter that was understood.
pub(crate) struct Filter(JsonPath);

impl Filter {
    /// Understands a filter.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        check_cost(text)?;
        let path = JsonPath::parse(&format!("$[?{text}]"));
        path.map(Self)
            .map_err(|error| format!("not an expression of JSONPath: {}", error.message()))
    }

    /// Whether an event passes.
    pub(crate) fn passes(&self, subject: &Subject) -> bool {
        !self.0.query(&subject.0).is_empty()
    }
}

/// An event's data, to be asked about.
pub(crate) struct Subject(Value);

impl Subject {
    /// Of this event.
    pub(crate) fn of(data: &Value) -> Self {
        // A filter selects among the children of something.
        Self(Value::Array(vec![data.clone()]))
    }
}

/// Refuses what could cost far more than the data is long: descendants, expressions that begin at the
/// root inside of others, lists in lists, and regular expressions.
fn check_cost(text: &str) -> Result<(), String> {
    let bare = without_strings(text);
    for (part, name) in [
        ("..", "descendants (..)"),
        ("$", "the root ($); @ is the event's data"),
        ("match", "regular expressions"),
        ("search", "regular expressions"),
    ] {
        if bare.contains(part) {
            return Err(format!("{name} cannot be used in a filter"));
        }
    }
    if bare.matches(['*', '?']).count() > 1 {
        return Err("a filter can look through one list only (* or ?)".to_owned());
    }
    Ok(())
}

/// The expression with nothing between its quotes.
fn without_strings(text: &str) -> String {
    let (mut bare, mut quote, mut escaped) = (String::new(), None, false);
    for letter in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            None => bare.push(letter),
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_alone_and_together() {
        let data = json!({"total": 120, "currency": "EUR", "lines": [{"sku": "a"}, {"sku": "b"}]});
        let subject = Subject::of(&data);
        for (filter, passes) in [
            ("@.total > 100", true),
            ("@.total > 100 && @.currency == 'EUR'", true),
            ("@.total > 100 && @.currency == 'USD'", false),
            ("@.currency == 'USD' || @.total >= 120", true),
            ("!@.refund", true),
            ("@.refund", false),
            ("@.lines[?@.sku == 'b']", true),
            ("@.lines[?@.sku == 'c']", false),
            ("length(@.lines) == 2", true),
            ("@['currency'] == \"EUR\"", true),
            ("@.note == '.. $ match('", false),
        ] {
            assert_eq!(Filter::parse(filter).unwrap().passes(&subject), passes, "{filter}");
        }
    }

    #[test]
    fn what_is_no_expression_or_costs_too_much_is_refused() {
        for filter in [
            "",
            "total > 100",
            "@.total >",
            "@..total",
            "$.total == 1",
            "@.a[?count($[*]) > 1]",
            "match(@.a, 'x')",
            "@.a == 'open",
            "search(@.a, '(a+)+')",
            "@.a[*][*]",
            "@.a[?@.b[?@.c]]",
            "@.total > 100]; drop",
        ] {
            assert!(Filter::parse(filter).is_err(), "{filter}");
        }
    }
}
