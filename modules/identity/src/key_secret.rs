//! The text of an API key: `fh_live_<id>_<secret><checksum>`, `fh_test_…` in a sandbox.
//!
//! The id is the key's UUID and the secret 24 random bytes, both in hex; the checksum is CRC-32 of
//! everything before it, so that a scanner can tell a key from noise without asking us.

use freehold_kernel::crypto::{random, sha256_plain};
use freehold_kernel::{Id, Result};
use uuid::Uuid;

use crate::api_keys::ApiKeyId;

const LIVE: &str = "fh_live_";
const TEST: &str = "fh_test_";
const ID: usize = 32;
const SECRET: usize = 48;
const CHECKSUM: usize = 8;

/// A key's text, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySecret {
    pub(crate) id: ApiKeyId,
    /// SHA-256 of the whole text: what is kept.
    pub(crate) hash: [u8; 32],
}

/// Whether a credential claims to be an API key.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.starts_with(LIVE) || text.starts_with(TEST)
}

impl KeySecret {
    /// Makes a new secret for a key; the text is shown once.
    pub(crate) fn generate(id: ApiKeyId, sandbox: bool) -> Result<(Self, String)> {
        let secret = hex::encode(random::<{ SECRET / 2 }>()?);
        let prefix = if sandbox { TEST } else { LIVE };
        let body = format!("{prefix}{}_{secret}", id.simple());
        let text = format!("{body}{:08x}", crc32fast::hash(body.as_bytes()));
        Ok((Self { id, hash: sha256_plain(text.as_bytes()) }, text))
    }

    /// Reads a key's text; `None` when its shape or checksum is wrong.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(LIVE).or_else(|| text.strip_prefix(TEST))?;
        if rest.len() != ID + 1 + SECRET + CHECKSUM || !rest.is_ascii() {
            return None;
        }
        let (body, checksum) = text.split_at(text.len() - CHECKSUM);
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != checksum {
            return None;
        }
        let id = Uuid::try_parse(&rest[..ID]).ok()?;
        Some(Self { id: Id::from_uuid(id), hash: sha256_plain(text.as_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_a_typo_is_caught_without_a_query() {
        let id = ApiKeyId::new();
        let (made, text) = KeySecret::generate(id, false).unwrap();
        assert_eq!(KeySecret::read(&text), Some(made));
        for place in 0..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[place] = if typo[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(KeySecret::read(&String::from_utf8(typo).unwrap()), None, "letter {place}");
        }
        assert_eq!(KeySecret::read(&"fh_live_é".repeat(10)), None);
        assert!(KeySecret::generate(id, true).unwrap().1.starts_with("fh_test_"));
    }
}
