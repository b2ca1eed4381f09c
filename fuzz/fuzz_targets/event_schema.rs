//! Schemas of event types: whatever is written is refused in words or answers, and soon.
#![no_main]

use std::time::{Duration, Instant};

use freehold_webhooks::fuzzing::violations;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn data() -> Value {
    let lines: Vec<Value> = (0..500).map(|n| json!({"sku": n, "tags": ["a", "b", null]})).collect();
    let text = "a".repeat(10_000);
    json!({"total": 120, "currency": "EUR", "lines": lines, "text": text, "": {"a": {"b": {"c": true}}}})
}

fuzz_target!(|text: &str| {
    let Ok(Value::Object(schema)) = serde_json::from_str(text) else { return };
    let (data, began) = (data(), Instant::now());
    match violations(&schema, &data) {
        Ok(found) => assert!(found.len() <= 20),
        Err(words) => assert!(!words.is_empty()),
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{text:?} takes too long");
});
