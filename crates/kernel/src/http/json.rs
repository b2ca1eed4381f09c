//! JSON bodies: strict, validated, and refused with a pointer to what is wrong.

use std::future::{Future, ready};

use axum::http::Method;
use garde::Validate;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use utoipa::ToSchema;

use super::input::Input;
use super::operation::Operation;
use super::query;
use crate::cx::Cx;
use crate::error::{Error, FieldError, Kind, Result};

/// What a PATCH may call its body as well: that is what it is (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// A JSON body, in and out. On the way in its type must refuse unknown fields
/// (`#[serde(deny_unknown_fields)]`; a contract test asks every route) and validate itself.
pub struct Json<T>(pub T);

impl<T> Input for Json<T>
where
    T: DeserializeOwned + Validate<Context = ()> + ToSchema + Send + 'static,
{
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_json::<T>();
    }

    fn parse(cx: &Cx) -> Result<Self> {
        query::check(cx)?;
        check_content_type(cx)?;
        scan(cx.body(), cx.app().config().limits.json_depth)?;
        let value: T = decode(cx.body())?;
        value.validate().map_err(|report| invalid("", &report))?;
        Ok(Self(value))
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}

pub(super) fn check_content_type(cx: &Cx) -> Result<()> {
    let given = cx.headers().get("content-type").and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (cx.method() == Method::PATCH && essence.eq_ignore_ascii_case(MERGE_PATCH));
    if !is_json {
        return Err(unsupported("Send JSON, with `Content-Type: application/json`."));
    }
    match cx.headers().get("content-encoding") {
        None => Ok(()),
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(_) => Err(unsupported("Send the body as it is, without `Content-Encoding`.")),
    }
}

fn unsupported(detail: &str) -> Error {
    Error::new(Kind::UnsupportedType, "core.unsupported_type", detail)
}

/// One pass before serde: nesting and U+0000, which PostgreSQL cannot store. Everything else that
/// is wrong with the syntax is serde's to say.
pub(super) fn scan(body: &[u8], depth_max: usize) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in body.iter().enumerate() {
        match (in_string, escaped, byte) {
            (true, true, b'u') if body[at + 1..].starts_with(b"0000") => {
                return Err(Error::invalid("", "core.null_byte", "U+0000 cannot be stored"));
            }
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => in_string = !in_string,
            (false, _, b'{' | b'[') => depth += 1,
            (false, _, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return Err(Error::new(
                Kind::Malformed,
                "core.json_too_deep",
                format!("JSON may be nested {depth_max} deep."),
            ));
        }
    }
    Ok(())
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    // serde would read a list as a struct, field by field. The API's bodies are objects.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Error::invalid("", "core.type", "an object is expected, not a list"));
    }
    decode_any(body)
}

pub(super) fn decode_any<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let cause = error.into_inner();
        if cause.is_data() { field_error(pointer, &cause.to_string()) } else { malformed(&cause) }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::new(Kind::Malformed, "core.malformed_json", format!("This is not JSON: {error}."))
}

/// Turns serde's sentence into a field error. The sentence quotes nothing but the caller's input.
pub(super) fn field_error(mut pointer: String, sentence: &str) -> Error {
    let said = sentence.split(" at line ").next().unwrap_or(sentence).to_owned();
    let named = said.split('`').nth(1).unwrap_or_default().to_owned();
    let code = if said.starts_with("unknown field") {
        if !pointer.ends_with(&format!("/{named}")) {
            pointer = format!("{pointer}/{named}");
        }
        "core.unknown_field"
    } else if said.starts_with("missing field") {
        pointer = format!("{pointer}/{named}");
        "core.missing_field"
    } else if said.starts_with("duplicate field") {
        "core.duplicate_field"
    } else if said.starts_with("unknown variant") {
        "core.unknown_value"
    } else {
        "core.type"
    };
    Error::invalid(pointer, code, said)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// What validation found, each under `parent`.
pub(super) fn invalid(parent: &str, report: &garde::Report) -> Error {
    let fields = report
        .iter()
        .map(|(path, error)| FieldError {
            pointer: format!("{parent}/{}", camel_case(&path.to_string()).replace(['.', '['], "/"))
                .replace(']', ""),
            code: "core.rule",
            detail: error.to_string(),
        })
        .collect();
    Error::invalid_fields(fields)
}

/// Validation names the Rust field; the caller knows it in camel case.
fn camel_case(snake: &str) -> String {
    let snake = snake.trim_start_matches("r#");
    let mut camel = String::with_capacity(snake.len());
    let mut raise = false;
    for letter in snake.chars() {
        match letter {
            '_' => raise = true,
            _ if raise => {
                camel.push(letter.to_ascii_uppercase());
                raise = false;
            }
            _ => camel.push(letter),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_finds_depth_and_null_wherever_they_hide() {
        assert!(scan(br#"{"a":[[1]]}"#, 3).is_ok());
        assert_eq!(scan(br#"{"a":[[[1]]]}"#, 3).unwrap_err().code(), "core.json_too_deep");
        assert!(scan(br#"{"a":"[[[[[\"[[["}"#, 3).is_ok());
        assert_eq!(scan(br#"{"a":"x\u0000"}"#, 3).unwrap_err().fields()[0].code, "core.null_byte");
        assert!(scan(br#"{"a":"x\\u0000"}"#, 3).is_ok(), "an escaped backslash, then text");
    }

    proptest::proptest! {
        #[test]
        fn the_scan_never_panics(body: Vec<u8>) {
            let _ = scan(&body, 4);
        }
    }
}
