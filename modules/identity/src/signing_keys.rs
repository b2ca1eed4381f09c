//! The keys that sign access tokens, and `GET /.well-known/jwks.json`. When they are made and taken
//! away is in signing_key_rotation.rs.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use freehold_kernel::crypto::sha256;
use freehold_kernel::{
    AccountTx, App, Cx, Error, Json, PUBLIC, Result, Routes, State, Timestamp, endpoint,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access_token::{PublicKey, SharedKeys, SigningKeyId, TokenKey};

const PURPOSE: &str = "signing key";

pub(crate) fn routes() -> Routes {
    Routes::at("/.well-known").get("/jwks.json", PUBLIC, jwks)
}

/// A JSON Web Key Set (RFC 7517).
#[derive(Serialize, ToSchema)]
#[schema(as = identity::KeySet)]
struct KeySet {
    /// The keys whose signatures are good, or will be when their time comes.
    keys: Vec<PublicKey>,
}

/// The public keys that verify our access tokens.
///
/// A key is here at least a day before it signs, and for 30 days after the next one does: fetch the
/// set when a token names a key that you do not know, and once a day.
#[endpoint]
async fn jwks(_cx: Cx, State(keys): State<SharedKeys>) -> Result<Json<KeySet>> {
    Ok(Json(KeySet { keys: keys.published() }))
}

/// The installation's keys. Those sealed under an earlier secret key are sealed anew, so that it
/// may be forgotten.
pub(crate) async fn load(app: &App, tx: &mut AccountTx) -> Result<Vec<TokenKey>> {
    let rows = sqlx::query!(
        r#"select id, public_key, sealed_private, signs_from as "signs_from: Timestamp"
           from identity.signing_keys order by signs_from"#
    )
    .fetch_all(tx.db())
    .await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let private = app.keyring().open(PURPOSE, &place(row.id), &row.sealed_private)?;
        let id = SigningKeyId::from_uuid(row.id);
        keys.push(TokenKey::new(id, row.signs_from, &row.public_key, &private));
        if !app.keyring().is_current(&row.sealed_private) {
            seal_anew(app, tx, row.id, &private).await?;
        }
    }
    Ok(keys)
}

async fn seal_anew(app: &App, tx: &mut AccountTx, id: Uuid, private: &[u8]) -> Result<()> {
    let sealed = app.keyring().seal(PURPOSE, &place(id), private)?;
    sqlx::query!("update identity.signing_keys set sealed_private = $2 where id = $1", id, sealed,)
        .execute(tx.db())
        .await?;
    Ok(())
}

/// Makes a key that is published at once and signs from a moment on.
pub(crate) async fn make(app: &App, tx: &mut AccountTx, signs_from: Timestamp) -> Result<TokenKey> {
    let pair = Ed25519KeyPair::generate().map_err(|_| Error::internal("no randomness"))?;
    let private = pair.to_pkcs8().map_err(|_| Error::internal("the key cannot be written"))?;
    let (id, public) = (SigningKeyId::new(), pair.public_key().as_ref());
    let sealed = app.keyring().seal(PURPOSE, &place(*id), private.as_ref())?;
    let now = tx.real_now();
    sqlx::query!(
        "insert into identity.signing_keys (id, public_key, sealed_private, created_at, signs_from)
         values ($1, $2, $3, $4, $5)",
        *id,
        public,
        sealed,
        now as _,
        signs_from as _,
    )
    .execute(tx.db())
    .await?;
    Ok(TokenKey::new(id, signs_from, public, private.as_ref()))
}

fn place(id: Uuid) -> [u8; 32] {
    sha256(&[b"identity.signing_keys.sealed_private", id.as_bytes()])
}
