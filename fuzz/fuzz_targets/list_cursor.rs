//! The query of a list and the cursor in it.
#![no_main]

use std::sync::LazyLock;

use freehold_kernel::crypto::Keyring;
use freehold_kernel::fuzzing::{list_query, open_cursor, seal_cursor};
use libfuzzer_sys::fuzz_target;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::new(&[7; 32], &[]));

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (query, place, key) = input;
    if let Ok((limit, cursor, filters)) = list_query(query) {
        assert!((1..=200).contains(&limit));
        assert!(filters.iter().all(|(name, _)| name != "limit" && name != "cursor"));
        assert!(filters.iter().all(|(_, value)| !value.contains('\0')));
        if let Some(cursor) = cursor {
            assert!(open_cursor(&KEYRING, place, &cursor).is_err(), "a forged cursor was opened");
        }
    }
    assert!(open_cursor(&KEYRING, place, query).is_err(), "a forged cursor was opened");
    // No key of ours is longer; a longer cursor would be refused for its length.
    let key = &key[..key.len().min(512)];
    let cursor = seal_cursor(&KEYRING, place, key).expect("a keyring that works");
    assert_eq!(open_cursor(&KEYRING, place, &cursor).ok().as_deref(), Some(key));
    let elsewhere = [place, b"!"].concat();
    assert!(open_cursor(&KEYRING, &elsewhere, &cursor).is_err(), "a cursor of another list");
});
