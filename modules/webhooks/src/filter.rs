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

/// Comparisons, and parentheses, of one expression.
const COMPARISONS_MAX: usize = 20;
const PARENTHESES_MAX: usize = 10;

/// Refuses what could cost far more than the data is long: descendants, expressions that begin at the
/// root inside of others, several selectors in one place (each multiplies what the next ones look at),
/// lists in lists, regular expressions, and too much of anything.
fn check_cost(text: &str) -> Result<(), String> {
    let mut bare = without_strings(text);
    bare.retain(|letter| !letter.is_whitespace());
    for (part, name) in [
        ("..", "descendants (..)"),
        ("$", "the root ($); @ is the event's data"),
        (",", "several names or places at once (,)"),
        (":", "slices (:)"),
        ("match(", "regular expressions"),
        ("search(", "regular expressions"),
    ] {
        if bare.contains(part) {
            return Err(format!("{name} cannot be used in a filter"));
        }
    }
    if bare.matches(['*', '?']).count() > 1 {
        return Err("a filter can look through one list only (* or ?)".to_owned());
    }
    let signs = bare.matches(['<', '>']).count() + bare.matches("==").count();
    if signs + bare.matches("!=").count() > COMPARISONS_MAX {
        return Err(format!("a filter can compare {COMPARISONS_MAX} times at the most"));
    }
    if bare.matches('(').count() > PARENTHESES_MAX {
        return Err(format!("a filter can have {PARENTHESES_MAX} parentheses at the most"));
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
            ("@.note == '.. $ match( a, b:c'", false),
            ("@.matchId || @.research || @.total > 1", true),
            ("((((((((((@.total > 100))))))))))", true),
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
            "@.a[0,0]",
            "@['a', 'b']",
            "@.a[1:]",
            "match (@.a, 'x')",
            "(((((((((((@.total > 100)))))))))))",
        ] {
            assert!(Filter::parse(filter).is_err(), "{filter}");
        }
        let many = |count| vec!["@ == @"; count].join("&&");
        assert!(Filter::parse(&many(20)).is_ok() && Filter::parse(&many(21)).is_err());
    }

    /// Were several selectors in one place allowed, each level would double what the next looks at.
    #[test]
    fn deep_data_costs_no_more_than_it_is_long() {
        let deep = (0..60).fold(json!([]), |inner, _| json!([inner]));
        let subject = Subject::of(&json!({ "a": deep }));
        assert!(Filter::parse(&format!("@.a{}", "[0,0]".repeat(60))).is_err());
        assert!(Filter::parse(&format!("@.a{}", "[0]".repeat(60))).unwrap().passes(&subject));
    }
}
