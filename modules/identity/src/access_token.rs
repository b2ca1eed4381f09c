//! Access tokens: JWTs (RFC 7519, RFC 9068) signed with Ed25519, verified without the database.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use freehold_kernel::{Error, Id, Named, Result, TenantId, Timestamp, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::session::SessionId;

/// How long an access token is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
/// Longer ones are refused before anything is parsed.
const LENGTH_MAX: usize = 8 * 1024;
const TYPE: &str = "at+jwt";

/// Names a signing key.
pub struct SigningKey;

impl Named for SigningKey {
    const PREFIX: &'static str = "sgn";
}

/// The id of a signing key.
pub type SigningKeyId = Id<SigningKey>;

/// What an access token says. Unknown claims are ignored, repeated ones refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: the installation's public URL.
    pub iss: String,
    /// Audience: the same.
    pub aud: String,
    /// The person.
    pub sub: UserId,
    /// The tenant, if they are in one.
    pub tid: Option<TenantId>,
    /// The session.
    pub sid: SessionId,
    /// Authenticator assurance level.
    pub aal: u8,
    /// When the person last proved who they are, in seconds since 1970.
    pub auth_time: i64,
    /// Issued at, in seconds since 1970.
    pub iat: i64,
    /// Expires at, in seconds since 1970.
    pub exp: i64,
}

/// The keys that sign and verify on this node: those of the database, as of the last look.
#[derive(Default)]
pub struct TokenKeys {
    keys: RwLock<Keys>,
    changed: Notify,
}

#[derive(Default)]
struct Keys {
    /// Those that sign earlier come first.
    held: Vec<TokenKey>,
    /// Keys whose tokens are refused from now on. A look that began earlier must not bring them
    /// back.
    withdrawn: HashSet<String>,
}

/// A key pair, ready for use.
pub(crate) struct TokenKey {
    pub(crate) id: SigningKeyId,
    pub(crate) signs_from: Timestamp,
    kid: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    published: PublicKey,
}

impl TokenKey {
    /// Published and verifying at once, signing from a moment on.
    pub(crate) fn new(
        id: SigningKeyId,
        signs_from: Timestamp,
        public: &[u8],
        private_pkcs8: &[u8],
    ) -> Self {
        use base64::Engine;
        let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(public);
        let kid = id.to_string();
        let published = PublicKey {
            kty: "OKP",
            crv: "Ed25519",
            r#use: "sig",
            alg: "EdDSA",
            kid: kid.clone(),
            x,
        };
        let signing = EncodingKey::from_ed_der(private_pkcs8);
        let verifying = DecodingKey::from_ed_der(public);
        Self { id, signs_from, kid, signing, verifying, published }
    }
}

/// One key of the published set (RFC 8037: an octet key pair).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = identity::PublicKey)]
pub(crate) struct PublicKey {
    /// Key type: an octet key pair.
    #[schema(example = "OKP")]
    kty: &'static str,
    /// The curve.
    #[schema(example = "Ed25519")]
    crv: &'static str,
    /// What the key is for: signatures.
    #[schema(example = "sig")]
    r#use: &'static str,
    /// The one algorithm this key is good for.
    #[schema(example = "EdDSA")]
    alg: &'static str,
    /// The key's id, as in the token's header.
    #[schema(example = "sgn_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    kid: String,
    /// The public key, base64url.
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
}

impl TokenKeys {
    /// Holds what the database holds, but for what was withdrawn meanwhile.
    pub(crate) fn replace(&self, held: Vec<TokenKey>) {
        let mut keys = self.write();
        keys.held = held;
        let Keys { held, withdrawn } = &mut *keys;
        held.retain(|key| !withdrawn.contains(&key.kid));
        held.sort_by_key(|key| key.signs_from);
    }

    /// Holds one more key.
    pub(crate) fn add(&self, key: TokenKey) {
        let mut keys = self.write();
        keys.held.push(key);
        keys.held.sort_by_key(|key| key.signs_from);
    }

    /// Refuses what this key signed, at once and for good.
    pub(crate) fn withdraw(&self, kid: &str) {
        let mut keys = self.write();
        keys.held.retain(|key| key.kid != kid);
        keys.withdrawn.insert(kid.to_owned());
    }

    /// Whether what this key signed is good.
    pub(crate) fn holds(&self, kid: &str) -> bool {
        self.read().held.iter().any(|key| key.kid == kid)
    }

    /// The database holds others than it did.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Waits until it does.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn published(&self) -> Vec<PublicKey> {
        self.read().held.iter().map(|key| key.published.clone()).collect()
    }

    /// Signs claims, with the key whose time it is when they are issued.
    ///
    /// # Errors
    /// 503 while there is no key.
    pub fn sign(&self, claims: &Claims) -> Result<String> {
        self.sign_as(TYPE, claims.iat, claims)
    }

    /// The same for the claims of another type of token, issued at `iat`.
    pub(crate) fn sign_as(&self, typ: &str, iat: i64, claims: &impl Serialize) -> Result<String> {
        let keys = self.read();
        let begun = |key: &&TokenKey| key.signs_from.unix_seconds() <= iat;
        // A node whose clock is behind may not have seen any begin.
        let key = keys.held.iter().rfind(begun).or_else(|| keys.held.first()).ok_or_else(|| {
            Error::unavailable("core.busy", "The signing keys are being changed; try again.", 1)
        })?;
        let header = Header {
            typ: Some(typ.to_owned()),
            kid: Some(key.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, claims, &key.signing).map_err(Error::internal)
    }

    /// Verifies signature, type, issuer, audience and time. The key decides the algorithm; the
    /// header's word on it is only compared.
    ///
    /// # Errors
    /// 401 `identity.token_invalid` or `identity.token_expired`.
    pub fn verify(&self, token: &str, issuer: &str, now: Timestamp) -> Result<Claims> {
        self.verify_and_name(token, issuer, now).map(|(claims, _)| claims)
    }

    /// The same, and says which key signed.
    pub(crate) fn verify_and_name(
        &self,
        token: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<(Claims, String)> {
        let (claims, kid) = self.read_as::<Claims>(TYPE, token, issuer, issuer)?;
        if claims.exp <= now.unix_seconds() {
            return Err(Error::unauthenticated(
                "identity.token_expired",
                "This token has expired; refresh it.",
            ));
        }
        Ok((claims, kid))
    }

    /// The claims of a token of this type, and which key signed; all is verified but the time.
    pub(crate) fn read_as<C: DeserializeOwned + Clone>(
        &self,
        typ: &str,
        token: &str,
        issuer: &str,
        audience: &str,
    ) -> Result<(C, String)> {
        if token.len() > LENGTH_MAX {
            return Err(invalid());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        let foreign = header.jku.is_some() || header.x5u.is_some() || header.jwk.is_some();
        if foreign || header.typ.as_deref() != Some(typ) || header.crit.is_some() {
            return Err(invalid());
        }
        let keys = self.read();
        let kid = header.kid.ok_or_else(invalid)?;
        let key = keys.held.iter().find(|key| key.kid == kid).ok_or_else(invalid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[issuer]);
        // Time is compared by the caller, against the process's clock rather than the system's.
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<C>(token, &key.verifying, &validation);
        Ok((decoded.map_err(|_| invalid())?.claims, kid))
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same words whatever is wrong with a token.
pub(crate) fn invalid() -> Error {
    Error::unauthenticated("identity.token_invalid", "This token is not valid.")
}

/// What a token calls itself. Nothing is verified yet.
pub(crate) fn type_of(token: &str) -> Option<String> {
    if token.len() > LENGTH_MAX {
        return None;
    }
    jsonwebtoken::decode_header(token).ok()?.typ
}

/// Keys shared by sign-in, JWKS and the authenticator.
pub(crate) type SharedKeys = Arc<TokenKeys>;
