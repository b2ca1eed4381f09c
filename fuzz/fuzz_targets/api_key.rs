//! API keys: any text by itself, and the same text under a checksum that is right.
#![no_main]

use freehold_identity::fuzzing::api_key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    check(text);
    for prefix in ["", "fh_live_", "fh_test_"] {
        let body = format!("{prefix}{text}");
        check(&format!("{body}{:08x}", crc32fast::hash(body.as_bytes())));
    }
});

fn check(text: &str) {
    if let Some(id) = api_key(text) {
        assert!(text.is_ascii() && text.len() == 8 + 32 + 1 + 48 + 8, "{text:?}");
        assert!(text[8..40].eq_ignore_ascii_case(&id.simple().to_string()), "{text:?}");
    }
}
