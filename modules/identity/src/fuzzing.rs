//! The credentials' parsers as the targets in `fuzz/` call them. No part of the module's interface.

use freehold_kernel::crypto::Keyring;
use freehold_kernel::{Clock, Result, Timestamp};
use uuid::Uuid;

use crate::access_token::{SigningKeyId, TokenKey, TokenKeys};
use crate::key_secret::KeySecret;
use crate::portal_token;
use crate::refresh_token::RefreshToken;
use crate::session::SessionId;

/// Keys that verify, and the name of the one key among them.
#[must_use]
pub fn token_keys(public: &[u8], private_pkcs8: &[u8]) -> (TokenKeys, String) {
    let (keys, id) = (TokenKeys::default(), SigningKeyId::new());
    // It signs whatever the time: there is no other.
    keys.add(TokenKey::new(id, Clock::default().now(), public, private_pkcs8));
    (keys, id.to_string())
}

/// The audience of a portal link's token that holds, and when it expires.
///
/// # Errors
/// 401 for one that does not.
pub fn portal_token(
    keys: &TokenKeys,
    token: &str,
    issuer: &str,
    now: Timestamp,
) -> Result<(String, i64)> {
    portal_token::read(keys, token, issuer, now).map(|(claims, _)| (claims.aud, claims.exp))
}

/// The id inside an API key whose shape and checksum are right.
#[must_use]
pub fn api_key(text: &str) -> Option<Uuid> {
    KeySecret::read(text).map(|key| key.id.uuid())
}

/// Session and generation of a refresh token of ours.
#[must_use]
pub fn refresh_token(text: &str, keyring: &Keyring) -> Option<(Uuid, i32)> {
    let token = RefreshToken::read(text, keyring)?;
    Some((token.session.uuid(), token.generation))
}

/// A refresh token of ours.
///
/// # Errors
/// Never with a keyring that works.
pub fn write_refresh_token(session: Uuid, generation: i32, keyring: &Keyring) -> Result<String> {
    RefreshToken { session: SessionId::from_uuid(session), generation }.write(keyring)
}
