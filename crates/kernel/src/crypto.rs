//! Sealing and authenticating with the installation's secret key.
//!
//! Every use has a key of its own, derived with HKDF-SHA-256 (RFC 5869) from
//! `FREEHOLD_SECRET_KEY` under a label, so that no two features share key material. Sealing is
//! AES-256-GCM with a random nonce; the additional data says where the ciphertext belongs (tenant,
//! table, column, row), so that a row copied elsewhere does not open.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};

const NONCE_LENGTH: usize = 12;
const KEY_LENGTH: usize = 32;
/// A sealed text begins with this many bytes of its key's id. SQL that looks for texts of a key
/// compares as many.
const KEY_ID_LENGTH: usize = 4;

/// The installation's secret keys: the one in use, and earlier ones that may still open.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    /// The one in use first. The position is not written anywhere: a sealed text names its key by
    /// id.
    roots: Vec<Root>,
    sealing: RwLock<HashMap<(KeyId, &'static str), Arc<SealingKey>>>,
}

struct Root {
    id: KeyId,
    prk: hkdf::Prk,
}

/// Names a secret key and tells nothing of it.
pub(crate) type KeyId = [u8; KEY_ID_LENGTH];

/// What went wrong with a sealed text. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The text was not made by this installation, or was changed, or belongs elsewhere.
    #[error("sealed data does not open: wrong key, wrong place, or altered")]
    Unsealable,
    /// The library refused; with correct lengths this does not happen.
    #[error("the cryptographic library refused an operation")]
    Library,
}

impl Keyring {
    /// Takes the secret in use and those before it, newest first.
    #[must_use]
    pub fn new(secret: &[u8], previous: &[Vec<u8>]) -> Self {
        let mut roots: Vec<Root> = Vec::with_capacity(1 + previous.len());
        for secret in std::iter::once(secret).chain(previous.iter().map(Vec::as_slice)) {
            let root = Root::new(secret);
            // The key in use may be among the previous ones as well.
            if roots.iter().all(|known| known.id != root.id) {
                roots.push(root);
            }
        }
        Self(Arc::new(Inner { roots, sealing: RwLock::default() }))
    }

    /// The id of the key in use.
    pub(crate) fn key_id(&self) -> Result<KeyId, CryptoError> {
        Ok(self.0.roots.first().ok_or(CryptoError::Library)?.id)
    }

    /// The ids of all keys, the one in use first.
    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        self.0.roots.iter().map(|root| root.id).collect()
    }

    /// Encrypts `plain` for `purpose`; `place` must be given again to open it.
    ///
    /// # Errors
    /// [`CryptoError::Library`] when no randomness can be had.
    pub fn seal(
        &self,
        purpose: &'static str,
        place: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let root = self.0.roots.first().ok_or(CryptoError::Library)?;
        let mut sealed = root.id.to_vec();
        sealed.extend(self.sealing_key(root, purpose)?.seal(place, plain)?);
        Ok(sealed)
    }

    /// Opens what [`Keyring::seal`] made for the same purpose and place.
    ///
    /// # Errors
    /// [`CryptoError::Unsealable`] for anything else.
    pub fn open(
        &self,
        purpose: &'static str,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (id, sealed) = sealed.split_first_chunk().ok_or(CryptoError::Unsealable)?;
        let root =
            self.0.roots.iter().find(|root| root.id == *id).ok_or(CryptoError::Unsealable)?;
        self.sealing_key(root, purpose)?.open(place, sealed)
    }

    /// Whether this was sealed under the key in use, and not under one that goes out of use.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        self.key_id().is_ok_and(|id| sealed.starts_with(&id))
    }

    /// Seals anew, under the key in use, what is sealed under any. Answers which it was as well.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub(crate) fn reseal(
        &self,
        purpose: &'static str,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<(KeyId, Vec<u8>), CryptoError> {
        let was = *sealed.first_chunk().ok_or(CryptoError::Unsealable)?;
        let plain = self.open(purpose, place, sealed)?;
        Ok((was, self.seal(purpose, place, &plain)?))
    }

    /// A 32-byte authenticator of `message` under the key in use (HMAC-SHA-256).
    ///
    /// # Errors
    /// [`CryptoError::Library`] never happens with a keyring made by [`Keyring::new`].
    pub fn authenticate(
        &self,
        purpose: &'static str,
        message: &[u8],
    ) -> Result<[u8; 32], CryptoError> {
        let root = self.0.roots.first().ok_or(CryptoError::Library)?;
        let tag = hmac::sign(&root.hmac_key(purpose)?, message);
        tag.as_ref().try_into().map_err(|_| CryptoError::Library)
    }

    /// Whether `tag` (16 bytes or more of it) authenticates `message` under any known key.
    #[must_use]
    pub fn verifies(&self, purpose: &'static str, message: &[u8], tag: &[u8]) -> bool {
        tag.len() >= 16
            && self.0.roots.iter().filter_map(|root| root.hmac_key(purpose).ok()).any(|key| {
                let expected = hmac::sign(&key, message);
                let expected = expected.as_ref();
                tag.len() <= expected.len()
                    && aws_lc_rs::constant_time::verify_slices_are_equal(
                        &expected[..tag.len()],
                        tag,
                    )
                    .is_ok()
            })
    }

    /// Deriving costs two HMACs and AES key expansion; once per purpose is enough.
    fn sealing_key(
        &self,
        root: &Root,
        purpose: &'static str,
    ) -> Result<Arc<SealingKey>, CryptoError> {
        let known = self.0.sealing.read().map_err(|_| CryptoError::Library)?;
        if let Some(key) = known.get(&(root.id, purpose)) {
            return Ok(key.clone());
        }
        drop(known);
        let key = Arc::new(SealingKey::from_bytes(&root.derive(purpose)?)?);
        let mut known = self.0.sealing.write().map_err(|_| CryptoError::Library)?;
        Ok(known.entry((root.id, purpose)).or_insert(key).clone())
    }
}

impl Root {
    fn new(secret: &[u8]) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"freehold");
        let [a, b, c, d, ..] = sha256(&[b"key id", secret]);
        Self { id: [a, b, c, d], prk: salt.extract(secret) }
    }

    fn derive(&self, purpose: &str) -> Result<[u8; KEY_LENGTH], CryptoError> {
        let mut key = [0; KEY_LENGTH];
        let info = [purpose.as_bytes()];
        let okm = self.prk.expand(&info, hkdf::HKDF_SHA256).map_err(|_| CryptoError::Library)?;
        okm.fill(&mut key).map_err(|_| CryptoError::Library)?;
        Ok(key)
    }

    fn hmac_key(&self, purpose: &str) -> Result<hmac::Key, CryptoError> {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &self.derive(purpose)?))
    }
}

/// One AES-256-GCM key, as derived for a purpose or drawn for a person's data.
pub struct SealingKey(RandomizedNonceKey);

impl SealingKey {
    /// Takes 32 random or derived bytes.
    ///
    /// # Errors
    /// [`CryptoError::Library`] when they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(Self).map_err(|_| CryptoError::Library)
    }

    /// Encrypts: nonce, then ciphertext, then tag.
    ///
    /// # Errors
    /// [`CryptoError::Library`] when no randomness can be had.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut text = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place), &mut text)
            .map_err(|_| CryptoError::Library)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`SealingKey::seal`] made for the same place.
    ///
    /// # Errors
    /// [`CryptoError::Unsealable`] for anything else.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LENGTH).ok_or(CryptoError::Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::Unsealable)?;
        let mut text = text.to_vec();
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(place), &mut text)
            .map_err(|_| CryptoError::Unsealable)?;
        Ok(plain.to_vec())
    }
}

/// SHA-256 of the parts, each preceded by its length so that no two lists of parts collide.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    fixed(context.finish().as_ref())
}

/// SHA-256 of bytes as they are, for what is compared with other software's digests.
#[must_use]
pub fn sha256_plain(bytes: &[u8]) -> [u8; 32] {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn fixed(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest);
    bytes
}

/// Bytes from the system's random number generator.
///
/// # Errors
/// [`CryptoError::Library`] when it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| CryptoError::Library)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_text_opens_only_with_its_purpose_its_place_and_unaltered() {
        let keyring = Keyring::new(&[7; 32], &[]);
        let sealed = keyring.seal("cursor", b"here", b"secret").unwrap();
        assert_eq!(keyring.open("cursor", b"here", &sealed).unwrap(), b"secret");
        assert!(keyring.open("cursor", b"there", &sealed).is_err());
        assert!(keyring.open("token", b"here", &sealed).is_err());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(keyring.open("cursor", b"here", &altered).is_err(), "byte {place}");
        }
        for length in 0..sealed.len() {
            assert!(keyring.open("cursor", b"here", &sealed[..length]).is_err());
        }
    }

    #[test]
    fn a_new_key_opens_and_verifies_what_the_previous_one_made() {
        let before = Keyring::new(&[1; 32], &[]);
        let after = Keyring::new(&[2; 32], &[vec![1; 32]]);
        let sealed = before.seal("x", b"", b"old").unwrap();
        assert_eq!(after.open("x", b"", &sealed).unwrap(), b"old");
        let tag = before.authenticate("x", b"message").unwrap();
        assert!(after.verifies("x", b"message", &tag[..16]));
        assert!(!after.verifies("x", b"massage", &tag[..16]));
        assert!(!after.verifies("x", b"message", &tag[..15]));
    }

    #[test]
    fn each_of_many_keys_opens_what_it_sealed() {
        let secrets: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte; 32]).collect();
        let all = Keyring::new(&[1; 32], &secrets);
        assert_eq!(all.key_ids().len(), secrets.len());
        for secret in &secrets {
            let alone = Keyring::new(secret, &[]);
            let sealed = alone.seal("x", b"", b"old").unwrap();
            assert!(sealed.starts_with(&alone.key_ids()[0]));
            assert_eq!(all.open("x", b"", &sealed).unwrap(), b"old");
        }
    }
}
