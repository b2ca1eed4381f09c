//! Refresh tokens: no table of them. A token names a session and a generation, and is
//! authenticated, so that a forged one costs no query.
//!
//! `fhr_` + base64url(version 1 ‖ session id 16 ‖ generation 4 ‖ HMAC-SHA-256 truncated to 16)

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_kernel::Result;
use freehold_kernel::crypto::Keyring;
use uuid::Uuid;

use crate::session::SessionId;

const PREFIX: &str = "fhr_";
const VERSION: u8 = 1;
const PAYLOAD: usize = 1 + 16 + 4;
const TAG: usize = 16;
const PURPOSE: &str = "refresh token";

/// One generation of a session's refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) session: SessionId,
    pub(crate) generation: i32,
}

impl RefreshToken {
    /// Writes the token; the same session and generation give the same text.
    pub(crate) fn write(self, keyring: &Keyring) -> Result<String> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        let tag = keyring.authenticate(PURPOSE, &bytes)?;
        bytes.extend_from_slice(&tag[..TAG]);
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a token of ours; `None` for anything else.
    pub(crate) fn read(text: &str, keyring: &Keyring) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX).filter(|rest| rest.len() <= 64)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (payload, tag) = bytes.split_at_checked(PAYLOAD)?;
        if tag.len() != TAG || payload[0] != VERSION || !keyring.verifies(PURPOSE, payload, tag) {
            return None;
        }
        Some(Self {
            session: SessionId::from_uuid(Uuid::from_slice(&payload[1..17]).ok()?),
            generation: i32::from_be_bytes(payload[17..].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_no_altered_one_does() {
        let keyring = Keyring::new(&[3; 32], &[]);
        let token = RefreshToken { session: SessionId::new(), generation: 7 };
        let text = token.write(&keyring).unwrap();
        assert_eq!(RefreshToken::read(&text, &keyring), Some(token));
        assert_eq!(RefreshToken::read(&text, &Keyring::new(&[4; 32], &[])), None);
        for place in 4..text.len() - 1 {
            let mut altered = text.clone().into_bytes();
            altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(RefreshToken::read(&altered, &keyring), None, "letter {place}");
        }
        for bad in ["", "fhr_", "fhr_AAAA", "nonsense", &"fhr_A".repeat(500)] {
            assert_eq!(RefreshToken::read(bad, &keyring), None);
        }
    }
}
