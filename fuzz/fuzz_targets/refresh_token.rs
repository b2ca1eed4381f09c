//! Refresh tokens: nothing reads that we did not write, and what we write reads back.
#![no_main]

use std::sync::LazyLock;

use freehold_identity::fuzzing::{refresh_token, write_refresh_token};
use freehold_kernel::crypto::Keyring;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::new(&[7; 32], &[]));

fuzz_target!(|input: (&str, u128, i32, usize)| {
    let (text, session, generation, place) = input;
    for stranger in [text, &format!("fhr_{text}")] {
        assert_eq!(refresh_token(stranger, &KEYRING), None, "a forged token was read");
    }
    let session = Uuid::from_u128(session);
    let ours = write_refresh_token(session, generation, &KEYRING).expect("a keyring that works");
    assert_eq!(refresh_token(&ours, &KEYRING), Some((session, generation)));
    // The same with a stranger's text somewhere inside of it.
    let (before, after) = ours.split_at(place % (ours.len() + 1));
    let spliced = format!("{before}{text}{after}");
    assert_eq!(refresh_token(&spliced, &KEYRING).is_some(), spliced == ours, "{spliced:?}");
});
