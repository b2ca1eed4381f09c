//! Ids in paths and bodies: what reads, writes back to the same letters.
#![no_main]

use freehold_kernel::TenantId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = text.parse::<TenantId>();
    if let Ok(id) = read {
        assert_eq!(id.to_string(), text, "one id, one spelling");
    }
    // Inside a body the same text is the same id, or no id at all.
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    assert_eq!(serde_json::from_str::<TenantId>(&quoted).ok(), read.ok());
});
