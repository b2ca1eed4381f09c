//! JSON bodies: the scan before serde against what serde reads, and the words of refusals.
#![no_main]

use freehold_kernel::fuzzing::{decode_json, scan_json};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::Value;

const DEPTH: usize = 8;

/// One field of each kind that the API's bodies have.
#[allow(dead_code)]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    name: String,
    time_zone: Option<String>,
    count: Option<i64>,
    kind: Option<Kind>,
    scopes: Option<Vec<String>>,
    inner: Option<Box<Body>>,
    data: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Live,
    Sandbox,
}

fuzz_target!(|body: &[u8]| {
    let scanned = scan_json(body, DEPTH);
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        let storable = depth(&value) <= DEPTH && !has_null(&value);
        // The body may say more than the value keeps: of fields with one name only the last.
        assert!(storable || scanned.is_err(), "the scan let through what cannot be stored");
        let plain = serde_json::to_vec(&value).expect("a value is JSON");
        assert_eq!(scan_json(&plain, DEPTH).is_ok(), storable);
    }
    if scanned.is_ok()
        && let Err(refusal) = decode_json::<Body>(body)
    {
        assert!(matches!(refusal.kind().status(), 400 | 422), "{refusal}");
        for field in refusal.fields() {
            assert!(field.pointer.is_empty() || field.pointer.starts_with('/'), "{field:?}");
        }
    }
});

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || has_null(value))
        }
        _ => false,
    }
}
