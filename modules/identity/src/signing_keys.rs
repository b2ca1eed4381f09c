//! The keys that sign access tokens, and `GET /.well-known/jwks.json`.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use freehold_kernel::crypto::sha256;
use freehold_kernel::{
    AccountTx, App, Cx, Error, Id, Json, PUBLIC, Result, Routes, State, endpoint,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access_token::{PublicKey, SharedKeys, SigningKey};

const PURPOSE: &str = "signing key";

pub(crate) fn routes() -> Routes {
    Routes::at("/.well-known").get("/jwks.json", PUBLIC, jwks)
}

/// A JSON Web Key Set (RFC 7517).
#[derive(Serialize, ToSchema)]
#[schema(as = identity::KeySet)]
struct KeySet {
    /// The keys whose signatures are good.
    keys: Vec<PublicKey>,
}

/// The public keys that verify our access tokens.
#[endpoint]
async fn jwks(_cx: Cx, State(keys): State<SharedKeys>) -> Result<Json<KeySet>> {
    Ok(Json(KeySet { keys: keys.published() }))
}

/// Loads the installation's keys; the very first start makes one.
pub(crate) async fn load_or_make(app: &Arc<App>, keys: &SharedKeys) -> Result<()> {
    let mut tx = app.account_tx().await?;
    // Two nodes that start at once must not make two keys.
    sqlx::query!("select pg_advisory_xact_lock(7235410002)").execute(tx.db()).await?;
    let known = sqlx::query!(
        "select id, public_key, sealed_private from identity.signing_keys
         where retired_at is null order by created_at"
    )
    .fetch_all(tx.db())
    .await?;
    for key in &known {
        let private = app.keyring().open(PURPOSE, &place(key.id), &key.sealed_private)?;
        keys.add(Id::from_uuid(key.id), &key.public_key, &private);
        if !app.keyring().is_current(&key.sealed_private) {
            seal_anew(app, &mut tx, key.id, &private).await?;
        }
    }
    if known.is_empty() {
        make(app, &mut tx, keys).await?;
    }
    tx.commit().await
}

/// Under the secret key in use, so that the earlier one may be forgotten.
async fn seal_anew(app: &App, tx: &mut AccountTx, id: Uuid, private: &[u8]) -> Result<()> {
    let sealed = app.keyring().seal(PURPOSE, &place(id), private)?;
    sqlx::query!("update identity.signing_keys set sealed_private = $2 where id = $1", id, sealed,)
        .execute(tx.db())
        .await?;
    Ok(())
}

async fn make(app: &App, tx: &mut AccountTx, keys: &SharedKeys) -> Result<()> {
    let pair = Ed25519KeyPair::generate().map_err(|_| Error::internal("no randomness"))?;
    let private = pair.to_pkcs8().map_err(|_| Error::internal("the key cannot be written"))?;
    let (id, public) = (Id::<SigningKey>::new(), pair.public_key().as_ref());
    let sealed = app.keyring().seal(PURPOSE, &place(*id), private.as_ref())?;
    let now = tx.real_now();
    sqlx::query!(
        "insert into identity.signing_keys (id, public_key, sealed_private, created_at)
         values ($1, $2, $3, $4)",
        *id,
        public,
        sealed,
        now as _,
    )
    .execute(tx.db())
    .await?;
    keys.add(id, public, private.as_ref());
    Ok(())
}

fn place(id: Uuid) -> [u8; 32] {
    sha256(&[b"identity.signing_keys.sealed_private", id.as_bytes()])
}
