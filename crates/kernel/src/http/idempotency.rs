//! `Idempotency-Key`: the first successful answer to a POST is kept a day, sealed, in the
//! transaction that the answer speaks of, and repeated when the request is.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use crate::crypto::sha256;
use crate::cx::Cx;
use crate::error::{Error, Kind, Result};
use crate::tx::{Opening, SystemTx, Tx};

const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const KEY_LENGTH_MAX: usize = 255;
/// Headers that are part of the answer; the others are made anew for each.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// A request that carries a key, and holds it until its transaction ends.
pub(super) struct Held {
    scope: [u8; 32],
    fingerprint: [u8; 32],
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Takes the key of this request, if it carries one: opens the transaction, and finds the answer
/// of an earlier try.
pub(super) async fn hold(cx: &Cx) -> Result<Option<(Held, Option<Answer>)>> {
    let Some(key) = cx.headers().get("idempotency-key") else { return Ok(None) };
    if cx.method() != Method::POST || !cx.app().in_transaction(cx.route()) {
        return Ok(None);
    }
    if key.is_empty() || key.len() > KEY_LENGTH_MAX {
        return Err(Error::invalid(
            "Idempotency-Key",
            "core.length",
            format!("1 to {KEY_LENGTH_MAX} characters"),
        ));
    }
    let actor = cx.signed_in()?;
    let scope = sha256(&[
        actor.principal.to_string().as_bytes(),
        cx.route().path.as_bytes(),
        key.as_bytes(),
    ]);
    let fingerprint = sha256(&[cx.method().as_str().as_bytes(), cx.path().as_bytes(), cx.body()]);
    let mut tx = cx.open_request_tx(Opening::ReadWrite).await?;
    // A statement of its own: what follows must see all that the holder before us committed, and a
    // refusal in the statement that begins a transaction would leave the connection inside of it.
    sqlx::query!("select core.hold_idempotency_key($1)", lock_key(cx, &scope)?)
        .execute(tx.db())
        .await?;
    let held = Held { scope, fingerprint };
    let earlier = held.find(&mut tx, cx).await?;
    Ok(Some((held, earlier)))
}

/// Advisory locks are named by one number for the whole database: tenant and scope, hashed.
fn lock_key(cx: &Cx, scope: &[u8; 32]) -> Result<i64> {
    let hash = sha256(&[cx.tenant()?.as_bytes(), scope]);
    Ok(hash.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte)))
}

/// Removes answers whose day is over. A schedule's tick.
pub(crate) async fn forget(tx: &mut SystemTx) -> Result<()> {
    let now = tx.real_now();
    sqlx::query!(
        "-- tidy: across tenants because one statement cleans up after all
         delete from core.idempotency_keys where expires_at < $1",
        now as _,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

impl Held {
    async fn find(&self, tx: &mut Tx, cx: &Cx) -> Result<Option<Answer>> {
        let (tenant, now) = (tx.tenant(), tx.real_now());
        let row = sqlx::query!(
            "select fingerprint, answer from core.idempotency_keys
             where tenant_id = $1 and scope_hash = $2 and expires_at > $3",
            *tenant,
            &self.scope,
            now as _,
        )
        .fetch_optional(tx.db())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.fingerprint != self.fingerprint {
            return Err(Error::new(
                Kind::Invalid,
                "core.idempotency_mismatch",
                "This Idempotency-Key came with another request before; use a new one.",
            ));
        }
        let kept = cx.app().keyring().open("idempotency", &self.place(tx), &row.answer)?;
        let kept: Kept = serde_json::from_slice(&kept)?;
        Ok(Some(kept.into_answer()))
    }

    /// Keeps a successful answer, in the transaction that made it true.
    pub(super) async fn keep(&self, cx: &Cx, answer: &Answer) -> Result<()> {
        let Some(mut tx) = Tx::resume(cx.slot()) else { return Ok(()) };
        let kept = serde_json::to_vec(&Kept::of(answer))?;
        let sealed = cx.app().keyring().seal("idempotency", &self.place(&tx), &kept)?;
        let (tenant, expires_at) = (tx.tenant(), tx.real_now() + KEPT);
        sqlx::query!(
            "insert into core.idempotency_keys
               (tenant_id, scope_hash, fingerprint, answer, expires_at)
             values ($1, $2, $3, $4, $5)
             on conflict (tenant_id, scope_hash) do update
             set fingerprint = excluded.fingerprint, answer = excluded.answer,
               expires_at = excluded.expires_at",
            *tenant,
            &self.scope,
            &self.fingerprint,
            sealed,
            expires_at as _,
        )
        .execute(tx.db())
        .await?;
        Ok(())
    }

    fn place(&self, tx: &Tx) -> [u8; 32] {
        sha256(&[b"core.idempotency_keys.answer", tx.tenant().as_bytes(), &self.scope])
    }
}

impl Kept {
    fn of(answer: &Answer) -> Self {
        let headers = KEPT_HEADERS
            .iter()
            .filter_map(|name| {
                let value = answer.headers().get(name)?.to_str().ok()?;
                Some((name.to_string(), value.to_owned()))
            })
            .collect();
        Self { status: answer.status().as_u16(), headers, body: answer.body().to_vec() }
    }

    fn into_answer(self) -> Answer {
        let mut answer = Answer::new(self.body.into());
        *answer.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(&value))
            {
                answer.headers_mut().insert(name, value);
            }
        }
        answer.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        answer
    }
}
