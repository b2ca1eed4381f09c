//! The published keys: anybody can verify our tokens with them, and nobody else's.

use std::io::Write;
use std::process::Command;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_identity::{Settings, SigningKey, module};
use freehold_kernel::Id;
use freehold_kernel::crypto::sha256;
use freehold_testkit::TestApp;
use serde_json::{Value, json};

use crate::accounts::{PASSWORD, login, register, start};

const JWKS: &str = "/.well-known/jwks.json";

#[tokio::test]
async fn the_key_set_holds_public_halves_only() {
    let app = start().await;
    let answer = app.anonymous().get(JWKS).await;
    let keys = answer.expect(200).json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1);
    let names: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for (name, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("use", "sig"), ("alg", "EdDSA")] {
        assert_eq!(keys[0][name], value);
    }
    assert_eq!(URL_SAFE_NO_PAD.decode(keys[0]["x"].as_str().unwrap()).unwrap().len(), 32);
}

#[tokio::test]
async fn openssl_verifies_a_token_with_the_published_key() {
    if Command::new("openssl").arg("version").output().is_err() {
        // Past the harness, which keeps what a successful test prints to itself.
        let said = b"SKIPPED: there is no openssl here to verify a signature with\n";
        std::io::stderr().write_all(said).unwrap();
        return;
    }
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let keys = app.anonymous().get(JWKS).await;
    let (signed, signature) = ada.access().rsplit_once('.').unwrap();
    let head = signed.split('.').next().unwrap();
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let key = keys.json()["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]);
    let x = URL_SAFE_NO_PAD.decode(key.unwrap()["x"].as_str().unwrap()).unwrap();
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): these twelve bytes, then the key.
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(x);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let verify = |text: &str| {
        Command::new("openssl")
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-keyform", "DER", "-inkey"])
            .arg(write("key.der", &der))
            .arg("-in")
            .arg(write("signed", text.as_bytes()))
            .arg("-sigfile")
            .arg(write("signature", &URL_SAFE_NO_PAD.decode(signature).unwrap()))
            .output()
            .unwrap()
    };
    let good = verify(signed);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(!verify(&signed.replacen('e', "f", 1)).status.success());
}

#[tokio::test]
async fn two_keys_are_published_and_a_token_holds_only_under_the_one_it_names() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let pair = Ed25519KeyPair::generate().unwrap();
    let id = Id::<SigningKey>::new();
    let place = sha256(&[b"identity.signing_keys.sealed_private", id.as_bytes()]);
    let private = pair.to_pkcs8().unwrap();
    let sealed = app.kernel().keyring().seal("signing key", &place, private.as_ref()).unwrap();
    sqlx::query("insert into identity.signing_keys values ($1, $2, $3, now(), $4)")
        .bind(*id)
        .bind(pair.public_key().as_ref())
        .bind(sealed)
        .bind(app.clock().now())
        .execute(app.sql())
        .await
        .unwrap();
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let published = node.anonymous().get(JWKS).await;
    assert_eq!(published.json()["keys"].as_array().unwrap().len(), 2);
    node.bearer(ada.access()).get("/api/v1/auth/me").await.expect(200);
    let newer = login(&node, json!({"email": ada.email, "password": PASSWORD})).await;
    let newer = newer.text_of("accessToken");
    let (signed, _) = newer.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    assert_eq!(head["kid"], json!(id), "the newest key signs");
    node.bearer(newer).get("/api/v1/auth/me").await.expect(200);

    let older_head = ada.access().split('.').next().unwrap();
    let signed = format!("{older_head}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    let crossed = node.bearer(&format!("{signed}.{signature}")).get("/api/v1/auth/me").await;
    crossed.problem("identity.token_invalid", 401);
}

#[tokio::test]
async fn the_private_half_is_sealed_and_a_second_start_makes_no_other() {
    let app = start().await;
    let before = app.anonymous().get(JWKS).await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    assert_eq!(before.json(), node.anonymous().get(JWKS).await.json());
    let sealed: Vec<u8> = sqlx::query_scalar("select sealed_private from identity.signing_keys")
        .fetch_one(app.sql())
        .await
        .unwrap();
    assert!(
        Ed25519KeyPair::from_pkcs8(&sealed).is_err()
            && Ed25519KeyPair::from_pkcs8(&sealed[1..]).is_err()
    );
}
