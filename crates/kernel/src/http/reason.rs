//! `Freehold-Reason`: why an operator looks at a tenant's data or changes it.

use std::future::{Future, ready};

use serde_json::json;

use super::input::Input;
use super::operation::Operation;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::rules;

const HEADER: &str = "freehold-reason";
const LENGTH_MAX: usize = 200;

/// What the caller gave as a reason, for the record.
pub struct Reason(pub Option<String>);

impl Input for Reason {
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_header(
            "Freehold-Reason",
            "Why you do this, in words that the tenant may read in its audit log",
            &json!({"type": "string", "minLength": 1, "maxLength": LENGTH_MAX, "pattern": "^[!-~]([ -~]*[!-~])?$"}),
        );
    }

    fn parse(cx: &Cx) -> Result<Self> {
        let Some(header) = cx.headers().get(HEADER) else { return Ok(Self(None)) };
        std::str::from_utf8(header.as_bytes())
            .ok()
            .filter(|reason| reason.chars().count() <= LENGTH_MAX)
            .filter(|reason| rules::readable(reason, &()).is_ok())
            .map(|reason| Self(Some(reason.to_owned())))
            .ok_or_else(|| {
                let rule = format!("1 to {LENGTH_MAX} characters that can be read");
                Error::invalid("Freehold-Reason", "core.length", rule)
            })
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}
