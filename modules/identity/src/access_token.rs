//! Access tokens: JWTs (RFC 7519, RFC 9068) signed with Ed25519, verified without the database.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use freehold_kernel::{Error, Id, Named, Result, TenantId, Timestamp, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

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

/// The keys that sign and verify on this node.
#[derive(Default)]
pub struct TokenKeys(RwLock<Keys>);

#[derive(Default)]
struct Keys {
    signing: Option<(String, EncodingKey)>,
    verifying: HashMap<String, DecodingKey>,
    published: Vec<PublicKey>,
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
    /// Adds a key pair; the one added last signs.
    pub(crate) fn add(&self, id: Id<SigningKey>, public: &[u8], private_pkcs8: &[u8]) {
        use base64::Engine;
        let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(public);
        let kid = id.to_string();
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.verifying.insert(kid.clone(), DecodingKey::from_ed_der(public));
        keys.signing = Some((kid.clone(), EncodingKey::from_ed_der(private_pkcs8)));
        let published =
            PublicKey { kty: "OKP", crv: "Ed25519", r#use: "sig", alg: "EdDSA", kid, x };
        keys.published.push(published);
    }

    pub(crate) fn published(&self) -> Vec<PublicKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).published.clone()
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (kid, key) =
            keys.signing.as_ref().ok_or_else(|| Error::internal("no signing key is loaded"))?;
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, claims, key).map_err(Error::internal)
    }

    /// Verifies signature, type, issuer, audience and time. The key decides the algorithm; the
    /// header's word on it is only compared.
    ///
    /// # Errors
    /// 401 `identity.token_invalid` or `identity.token_expired`.
    pub fn verify(&self, token: &str, issuer: &str, now: Timestamp) -> Result<Claims> {
        let invalid =
            || Error::unauthenticated("identity.token_invalid", "This token is not valid.");
        if token.len() > LENGTH_MAX {
            return Err(invalid());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        let foreign = header.jku.is_some() || header.x5u.is_some() || header.jwk.is_some();
        if foreign || header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
            return Err(invalid());
        }
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = header.kid.and_then(|kid| keys.verifying.get(&kid)).ok_or_else(invalid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[issuer]);
        validation.set_issuer(&[issuer]);
        // Time is compared below, against the process's clock rather than the system's.
        validation.validate_exp = false;
        let claims =
            jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| invalid())?.claims;
        if claims.exp <= now.unix_seconds() {
            return Err(Error::unauthenticated(
                "identity.token_expired",
                "This token has expired; refresh it.",
            ));
        }
        Ok(claims)
    }
}

/// Keys shared by sign-in, JWKS and the authenticator.
pub(crate) type SharedKeys = Arc<TokenKeys>;
