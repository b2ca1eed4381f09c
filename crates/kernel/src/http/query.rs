//! The query: parameters that the route knows, each once, and no others. Whoever misspells a filter
//! is told so, and not shown everything.

use crate::cx::Cx;
use crate::error::{Error, Result};

/// The parameters in the order they came.
pub(super) fn parameters(query: &str) -> Result<Vec<(String, String)>> {
    serde_urlencoded::from_str(query).map_err(|error| {
        Error::invalid("", "core.query", format!("the query cannot be read: {error}"))
    })
}

/// Refuses a request with a parameter that its route does not know.
pub(super) fn check(cx: &Cx) -> Result<()> {
    if cx.query().is_empty() { Ok(()) } else { known(cx.query(), &cx.route().query) }
}

fn known(query: &str, known: &[String]) -> Result<()> {
    let given = parameters(query)?;
    // One is enough: a list of all would be much longer than the query itself.
    let Some((name, _)) = given.into_iter().find(|(name, _)| !known.contains(name)) else {
        return Ok(());
    };
    let detail = if known.is_empty() {
        "no parameter of this path; it takes none".to_owned()
    } else {
        format!("no parameter of this path; it takes: {}", known.join(", "))
    };
    Err(Error::invalid(name, "core.unknown_field", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_the_route_does_not_know_is_refused_by_name() {
        let takes = ["limit".to_owned(), "cursor".to_owned()];
        assert!(known("", &[]).is_ok() && known("&&", &[]).is_ok());
        assert!(known("cursor=a&limit=2", &takes).is_ok());
        let refusal = known("limit=2&sort%20=x", &takes).unwrap_err();
        assert_eq!(refusal.fields()[0].pointer, "sort ");
        assert!(refusal.fields()[0].detail.ends_with("it takes: limit, cursor"));
        assert!(known("a", &[]).unwrap_err().fields()[0].detail.ends_with("it takes none"));
    }
}
