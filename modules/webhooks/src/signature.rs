//! Signatures: Standard Webhooks (standardwebhooks.com, v1), and a plain hex one for simple
//! receivers.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use freehold_kernel::Result;
use freehold_kernel::crypto::random;

const PREFIX: &str = "whsec_";

/// An endpoint's signing secret: 24 random bytes, written `whsec_` + base64.
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// A new one.
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self(random::<24>()?.to_vec()))
    }

    /// From the bytes that were sealed.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to seal.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the receiver is given it, once.
    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// `webhook-signature`: `v1,` and the base64 HMAC-SHA-256 of `id.timestamp.body`.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }

    /// `X-Webhook-Signature`: `sha256=` and the hex HMAC-SHA-256 of the body, under the secret's
    /// text, so that a receiver needs to decode nothing.
    pub(crate) fn sign_simply(&self, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.text().as_bytes());
        format!("sha256={}", hex::encode(hmac::sign(&key, body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_vector_holds() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = Secret::from_bytes(secret).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
