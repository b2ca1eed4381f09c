//! Access tokens that should not hold, one attack after the other: each is 401 with its code.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_kernel::crypto::sha256;
use freehold_testkit::{Answer, TestApp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::accounts::{Account, register, start};

const ME: &str = "/api/v1/auth/me";

/// The installation's own signing key, stolen, and a token to start from.
pub(crate) struct Forge {
    pair: Ed25519KeyPair,
    public: Vec<u8>,
    pub(crate) head: Value,
    pub(crate) claims: Value,
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

impl Forge {
    async fn steal(app: &TestApp, account: &Account) -> Self {
        Self::of(app, account.access()).await
    }

    /// To start from this token.
    pub(crate) async fn of(app: &TestApp, token: &str) -> Self {
        let (id, public, sealed): (Uuid, Vec<u8>, Vec<u8>) =
            sqlx::query_as("select id, public_key, sealed_private from identity.signing_keys")
                .fetch_one(app.sql())
                .await
                .expect("the signing key");
        let place = sha256(&[b"identity.signing_keys.sealed_private", id.as_bytes()]);
        let private = app.kernel().keyring().open("signing key", &place, &sealed);
        let pair = Ed25519KeyPair::from_pkcs8(&private.expect("the private half")).expect("a key");
        let parts: Vec<&str> = token.split('.').collect();
        Self { pair, public, head: decode(parts[0]), claims: decode(parts[1]) }
    }

    pub(crate) fn sign_text(&self, head: &str, claims: &str) -> String {
        let signed = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with some of the header's and the claims' fields changed, signed with the real key.
    pub(crate) fn sign(&self, head: &Value, claims: &Value) -> String {
        let with = |whole: &Value, changes: &Value| {
            let mut whole = whole.clone();
            for (name, value) in changes.as_object().expect("fields") {
                whole[name] = value.clone();
            }
            whole.to_string()
        };
        self.sign_text(&with(&self.head, head), &with(&self.claims, claims))
    }

    /// A token whose signature is made in another way.
    pub(crate) fn sealed_by(&self, head: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let token = self.sign(head, &json!({}));
        let (signed, _) = token.rsplit_once('.').expect("three parts");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
    }
}

async fn ask(app: &TestApp, token: &str) -> Answer {
    app.bearer(token).get(ME).await
}

#[tokio::test]
async fn the_header_and_the_claims_are_what_the_description_says() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let forge = Forge::steal(&app, &ada).await;
    assert_eq!(forge.head["alg"], "EdDSA");
    assert_eq!(forge.head["typ"], "at+jwt");
    assert!(forge.head["kid"].as_str().unwrap().starts_with("sgn_"));
    assert_eq!(forge.claims["iss"], "http://localhost:8080");
    assert_eq!(forge.claims["aud"], "http://localhost:8080");
    assert_eq!(forge.claims["sub"], json!(ada.user()));
    assert_eq!(forge.claims["tid"], json!(ada.tenant()));
    assert_eq!(forge.claims["aal"], 1);
    let age = forge.claims["exp"].as_i64().unwrap() - forge.claims["iat"].as_i64().unwrap();
    assert_eq!(age, 600);
    assert!(!forge.claims.to_string().contains("ada@"), "nothing personal");
    // What the forge signs holds, so that each refusal below is for its own reason.
    ask(&app, &forge.sign(&json!({}), &json!({}))).await.expect(200);
}

#[tokio::test]
async fn each_attack_on_a_token_is_refused() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let forge = Forge::steal(&app, &ada).await;
    let mac = hmac::Key::new(hmac::HMAC_SHA256, &forge.public);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&forge.public)});
    let claims = forge.claims.to_string();
    let twice = format!("{},\"sub\":{}}}", &claims[..claims.len() - 1], forge.claims["sub"]);
    let head = forge.head.to_string();
    let two_algs = format!("{},\"alg\":\"EdDSA\"}}", &head[..head.len() - 1]);
    let none = json!({});
    let attacks = [
        ("no algorithm", forge.sealed_by(&json!({"alg": "none"}), |_| Vec::new())),
        ("no algorithm, other case", forge.sealed_by(&json!({"alg": "nOnE"}), |_| Vec::new())),
        ("no signature", forge.sealed_by(&none, |_| Vec::new())),
        (
            "HS256 with the public key",
            forge.sealed_by(&json!({"alg": "HS256"}), |m| hmac::sign(&mac, m).as_ref().to_vec()),
        ),
        ("called ES256", forge.sign(&json!({"alg": "ES256"}), &none)),
        ("called RS256", forge.sign(&json!({"alg": "RS256"}), &none)),
        (
            "another key",
            forge.sealed_by(&none, |m| {
                Ed25519KeyPair::generate().expect("a key").sign(m).as_ref().to_vec()
            }),
        ),
        ("foreign audience", forge.sign(&none, &json!({"aud": "https://elsewhere.example"}))),
        ("no audience", forge.sign(&none, &json!({"aud": null}))),
        ("foreign issuer", forge.sign(&none, &json!({"iss": "https://elsewhere.example"}))),
        ("no issuer", forge.sign(&none, &json!({"iss": null}))),
        ("a plain JWT", forge.sign(&json!({"typ": "JWT"}), &none)),
        ("no type", forge.sign(&json!({"typ": null}), &none)),
        ("unknown kid", forge.sign(&json!({"kid": "sgn_01jz8q6k3mf1g8tvkh4z6c9x2b"}), &none)),
        ("no kid", forge.sign(&json!({"kid": null}), &none)),
        ("kid of a path", forge.sign(&json!({"kid": "../../etc/passwd"}), &none)),
        ("jku", forge.sign(&json!({"jku": "https://elsewhere.example/keys"}), &none)),
        ("x5u", forge.sign(&json!({"x5u": "https://elsewhere.example/cert"}), &none)),
        ("jwk", forge.sign(&json!({"jwk": jwk}), &none)),
        ("crit", forge.sign(&json!({"crit": ["b64"], "b64": false}), &none)),
        ("a claim twice", forge.sign_text(&head, &twice)),
        ("a header twice", forge.sign_text(&two_algs, &claims)),
        ("a tenant as subject", forge.sign(&none, &json!({"sub": ada.tenant()}))),
        ("claims that are no object", forge.sign_text(&head, "[]")),
        ("9 KiB", forge.sign(&none, &json!({"pad": "a".repeat(9 * 1024)}))),
        ("four parts", format!("{}.e30", ada.access())),
        ("two parts", ada.access().rsplit_once('.').unwrap().0.to_owned()),
        ("dots", "..".to_owned()),
        ("a word", "nonsense".to_owned()),
    ];
    for (name, token) in attacks {
        let answer = ask(&app, &token).await;
        assert_eq!(answer.code(), Some("identity.token_invalid"), "{name}: {answer}");
        assert_eq!((answer.status(), answer.header("www-authenticate")), (401, "Bearer"), "{name}");
    }
    ask(&app, ada.access()).await.expect(200);
}

#[tokio::test]
async fn a_signed_token_is_worth_no_more_than_its_session() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let forge = Forge::steal(&app, &ada).await;
    let with = |claims: Value| forge.sign(&json!({}), &claims);
    let session = ask(&app, &with(json!({"sid": freehold_identity::SessionId::new()}))).await;
    session.problem("identity.session_ended", 401);
    ask(&app, &with(json!({"sub": bob.user()}))).await.problem("identity.session_ended", 401);
    ask(&app, &with(json!({"tid": bob.tenant()}))).await.problem("core.not_found", 404);
    let nowhere = app.bearer(&with(json!({"tid": null})));
    assert_eq!(nowhere.get(ME).await.expect(200).json()["tenant"], Value::Null);
    nowhere.get("/api/v1/api-keys").await.problem("core.no_tenant", 403);
}

#[tokio::test]
async fn a_token_expires_after_ten_minutes_also_when_it_is_remembered() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    app.clock().advance(Duration::from_secs(598)).await;
    ask(&app, ada.access()).await.expect(200);
    app.clock().advance(Duration::from_secs(3)).await;
    ask(&app, ada.access()).await.problem("identity.token_expired", 401);
    ask(&app, bob.access()).await.problem("identity.token_expired", 401);
}

#[tokio::test]
async fn no_truncated_or_altered_token_holds_and_none_is_a_failure() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let token = ada.access();
    for length in (0..token.len()).step_by(3) {
        let answer = ask(&app, &token[..length]).await;
        assert!(
            matches!(
                answer.code(),
                Some("identity.token_invalid" | "identity.credentials_malformed")
            ),
            "{length} letters: {answer}"
        );
    }
    for place in 0..token.len() {
        let mut altered = token.as_bytes().to_vec();
        // One bit, and a letter that may stand in a token.
        altered[place] = match altered[place] {
            b'-' | b'_' | b'.' => b'A',
            letter if (letter ^ 1).is_ascii_alphanumeric() => letter ^ 1,
            letter => letter ^ 2,
        };
        let altered = String::from_utf8(altered).unwrap();
        ask(&app, &altered).await.problem("identity.token_invalid", 401);
    }
    ask(&app, token).await.expect(200);
}

#[tokio::test]
async fn a_header_that_carries_no_bearer_token_is_refused() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let ask = |header: Vec<u8>| app.anonymous().get(ME).header("authorization", header);
    for header in ["Basic YTpi", "Bearer", "", "bearer", "Digest x"] {
        let answer = ask(header.into()).await;
        answer.problem("identity.credentials_malformed", 401);
    }
    ask(vec![b'B', 0xff, b' ', b'x']).await.problem("identity.credentials_malformed", 401);
    ask(format!("bEaReR {}", ada.access()).into()).await.expect(200);
    ask(format!("Bearer {}", "a".repeat(40_000)).into())
        .await
        .problem("core.headers_too_large", 431);
}
