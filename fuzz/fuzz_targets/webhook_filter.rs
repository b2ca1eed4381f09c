//! Filters of webhooks: whatever is written is refused in words or answers, and soon.
#![no_main]

use std::time::{Duration, Instant};

use freehold_webhooks::fuzzing::passes;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn data() -> Value {
    let lines: Vec<Value> = (0..500).map(|n| json!({"sku": n, "tags": ["a", "b", null]})).collect();
    // Each selector of one step multiplies what the next one looks at.
    let deep = (0..60).fold(json!([]), |inner, _| json!([inner]));
    json!({"a": deep, "total": 120, "currency": "EUR", "lines": lines, "": {"a": {"b": {"c": true}}}})
}

fuzz_target!(|text: &str| {
    if text.chars().count() > 500 {
        return;
    }
    let (data, began) = (data(), Instant::now());
    if let Err(words) = passes(text, &data) {
        assert!(!words.is_empty());
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{text:?} takes too long");
});
