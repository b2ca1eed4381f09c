//! Signatures of Standard Webhooks (standardwebhooks.com): v1 with a shared secret, v1a with a key
//! pair; and a plain hex one for simple receivers.

use std::ops::RangeInclusive;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use freehold_kernel::crypto::random;
use freehold_kernel::{Error, Result};

/// As an endpoint's `signing` says.
pub(crate) const HMAC: &str = "hmac-sha256";
pub(crate) const ED25519: &str = "ed25519";

/// Before a shared secret.
const PREFIX: &str = "whsec_";
/// How long one may be that somebody brings along (Standard Webhooks, "Signature scheme").
const GIVEN_BYTES: RangeInclusive<usize> = 24..=64;

/// What an endpoint's requests are signed with.
pub(crate) enum Secret {
    /// 24 random bytes that the receiver has, too; written `whsec_` + base64.
    Shared(Vec<u8>),
    /// The 32 bytes of a private key that nobody else has.
    Private(Vec<u8>),
}

impl Secret {
    /// A new one for this way of signing.
    pub(crate) fn generate(signing: &str) -> Result<Self> {
        match signing {
            ED25519 => Ok(Self::Private(random::<32>()?.to_vec())),
            _ => Ok(Self::Shared(random::<24>()?.to_vec())),
        }
    }

    /// One that a receiver has already; `None` if it is none, as [`check_secret`] says.
    pub(crate) fn given(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        GIVEN_BYTES.contains(&bytes.len()).then_some(Self::Shared(bytes))
    }

    /// From the bytes that were sealed.
    pub(crate) fn from_bytes(signing: &str, bytes: Vec<u8>) -> Self {
        if signing == ED25519 { Self::Private(bytes) } else { Self::Shared(bytes) }
    }

    /// The bytes to seal.
    pub(crate) fn bytes(&self) -> &[u8] {
        let (Self::Shared(bytes) | Self::Private(bytes)) = self;
        bytes
    }

    /// As the receiver is given it, once. A private key is given to nobody.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Shared(bytes) => Some(format!("{PREFIX}{}", STANDARD.encode(bytes))),
            Self::Private(_) => None,
        }
    }

    /// What the receiver checks signatures with, if that may be known: `whpk_` + base64.
    pub(crate) fn public_key(&self) -> Result<Option<String>> {
        match self {
            Self::Shared(_) => Ok(None),
            Self::Private(seed) => {
                Ok(Some(format!("whpk_{}", STANDARD.encode(pair(seed)?.public_key()))))
            }
        }
    }

    /// One of the signatures in `webhook-signature`: `v1,` or `v1a,` and the base64 of the signature
    /// of `id.timestamp.body`.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String> {
        let head = format!("{id}.{timestamp}.");
        match self {
            Self::Shared(bytes) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
                let mut context = hmac::Context::with_key(&key);
                context.update(head.as_bytes());
                context.update(body);
                Ok(format!("v1,{}", STANDARD.encode(context.sign())))
            }
            Self::Private(seed) => {
                let signature = pair(seed)?.sign(&[head.as_bytes(), body].concat());
                Ok(format!("v1a,{}", STANDARD.encode(signature)))
            }
        }
    }

    /// `X-Webhook-Signature`: `sha256=` and the hex HMAC-SHA-256 of the body, under the secret's
    /// text, so that a receiver needs to decode nothing.
    pub(crate) fn sign_simply(&self, body: &[u8]) -> Option<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.text()?.as_bytes());
        Some(format!("sha256={}", hex::encode(hmac::sign(&key, body))))
    }
}

fn pair(seed: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(Error::internal)
}

/// A rule for garde: a secret that can be signed with.
pub(crate) fn check_secret(text: &str, _: &()) -> garde::Result {
    if Secret::given(text).is_some() {
        return Ok(());
    }
    Err(garde::Error::new("`whsec_` and the base64 of 24 to 64 bytes"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519 as VERIFIER, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_specifications_vector_holds() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = Secret::from_bytes(HMAC, secret)
            .sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
            .unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// The specification shows the first one's signature without its key; both are in the tests of
    /// `test_asymmetric_key_signing` in Svix's server, whose scheme it became (server/svix-server of
    /// svix/svix-webhooks). The second one is of `TestAsymmetricWebhookSign`, in what is proposed as
    /// the reference library for Go (standard-webhooks/standard-webhooks, pull request 253).
    #[test]
    fn the_vectors_for_key_pairs_hold() {
        for (pair, public, signature) in [
            (
                "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
                Some("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="),
                "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
            ),
            (
                "VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=",
                None,
                "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==",
            ),
        ] {
            // The private key, and behind it, maybe, the public one.
            let private = STANDARD.decode(pair).unwrap()[..32].to_vec();
            let secret = Secret::from_bytes(ED25519, private);
            let signed = secret
                .sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
                .unwrap();
            assert_eq!(signed, signature);
            if let Some(public) = public {
                assert_eq!(secret.public_key().unwrap().unwrap(), public);
            }
        }
    }

    #[test]
    fn a_signature_with_a_key_pair_is_checked_with_the_public_key_alone() {
        let secret = Secret::generate(ED25519).unwrap();
        let public = secret.public_key().unwrap().unwrap();
        let public = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
        let signed = secret.sign("msg_1", 1_614_265_330, b"{}").unwrap();
        let signature = STANDARD.decode(signed.strip_prefix("v1a,").unwrap()).unwrap();
        let key = UnparsedPublicKey::new(&VERIFIER, public);
        key.verify(b"msg_1.1614265330.{}", &signature).unwrap();
        assert!(key.verify(b"msg_1.1614265331.{}", &signature).is_err());
        assert!(secret.text().is_none() && secret.sign_simply(b"{}").is_none());
    }
}
