//! Access tokens and those of portal links: any text, and any header and claims under a signature that
//! is right. No token is both.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_identity::TokenKeys;
use freehold_identity::fuzzing::{portal_token, token_keys};
use freehold_kernel::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ISSUER: &str = "http://localhost:3000";
/// What seeds call the key, whose real name is drawn anew with each run.
const KEY_NAME: &str = "KID";

struct Signer {
    pair: Ed25519KeyPair,
    keys: TokenKeys,
    kid: String,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::generate().expect("a key pair");
    let private = pair.to_pkcs8v1().expect("a key pair in PKCS #8");
    let (keys, kid) = token_keys(pair.public_key().as_ref(), private.as_ref());
    Signer { pair, keys, kid }
});

fuzz_target!(|text: &str| {
    let now = Timestamp::from_unix_seconds(1_800_000_000).expect("a moment in 2027");
    assert!(SIGNER.keys.verify(text, ISSUER, now).is_err(), "an unsigned token was believed");
    assert!(
        portal_token(&SIGNER.keys, text, ISSUER, now).is_err(),
        "an unsigned link was believed"
    );

    // The first line is the header, the rest the claims.
    let Some((header, claims)) = text.split_once('\n') else { return };
    let header = header.replace(KEY_NAME, &SIGNER.kid);
    let signed = [header.as_str(), claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = SIGNER.pair.sign(signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    if let Ok((audience, expires)) = portal_token(&SIGNER.keys, &token, ISSUER, now) {
        assert!(SIGNER.keys.verify(&token, ISSUER, now).is_err(), "a link was taken for a token");
        assert!(audience != ISSUER && expires > now.unix_seconds());
        let header: Value = serde_json::from_str(&header).expect("a header that was read");
        assert_eq!(header["typ"], "portal+jwt");
    }
    if let Ok(believed) = SIGNER.keys.verify(&token, ISSUER, now) {
        assert_eq!((believed.iss.as_str(), believed.aud.as_str()), (ISSUER, ISSUER));
        assert!(believed.exp > now.unix_seconds());
        let header: Value = serde_json::from_str(&header).expect("a header that was read");
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(header["alg"], "EdDSA");
        let whole = signed.len();
        let altered = format!("{}A{}", &token[..whole], &token[whole..]);
        assert!(
            SIGNER.keys.verify(&altered, ISSUER, now).is_err(),
            "an altered token was believed"
        );
    }
});
