//! `POST /auth/refresh` and `POST /auth/logout`.
//!
//! Each refresh token is good once. Its successor, though, may get lost on the way, so a
//! predecessor stays good until its successor has been used, and ten seconds more: a lost reply
//! never signs anybody out. Anything older is a replay: somebody has a copy, and the session ends.

use std::time::Duration;

use freehold_kernel::{
    Cx, Error, Event, Json, NoContent, PUBLIC, Result, Routes, SIGNED_IN, State, TenantId,
    Timestamp, UserId, directory, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access_token::SharedKeys;
use crate::refresh_token::RefreshToken;
use crate::revocation;
use crate::session::{self, IDLE, SessionId, SignedIn};

/// How long a used predecessor is still answered.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth").post("/refresh", PUBLIC, refresh).post("/logout", SIGNED_IN, logout)
}

/// A refresh token to exchange.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = identity::Refresh)]
struct Refresh {
    /// From the last sign-in or refresh.
    #[garde(length(max = 256))]
    #[schema(example = "fhr_AQGOVvdVNXu8rLmoQZ3hRrEAAAAB", max_length = 256)]
    refresh_token: String,
}

/// A refresh token came again after its successor was used: somebody has a copy of it.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::AuthReplayed)]
#[event(type = "auth.replayed", subject = user_id)]
pub(crate) struct AuthReplayed {
    /// Whose session it was.
    user_id: UserId,
    /// The session, which has ended.
    session_id: SessionId,
}

/// What the database knows of a session.
struct Row {
    user_id: UserId,
    tenant_id: Option<TenantId>,
    generation: i32,
    generated_ats: Vec<Timestamp>,
    authenticated_at: Timestamp,
    expires_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// What to do with a token that was presented.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The one in use: its successor is made.
    Rotate,
    /// A predecessor whose successor may have been lost: the successor is given again.
    Repeat,
    /// Used, and the grace is over.
    Replay,
}

/// Exchange a refresh token for the next pair of tokens.
#[endpoint(
    "identity.session_ended",
    "identity.refresh_token_invalid",
    "identity.refresh_token_replayed",
    "identity.tenant_not_active",
    "core.not_found"
)]
async fn refresh(
    cx: Cx,
    State(keys): State<SharedKeys>,
    Json(body): Json<Refresh>,
) -> Result<Json<SignedIn>> {
    let token = RefreshToken::read(&body.refresh_token, cx.app().keyring()).ok_or_else(|| {
        Error::unauthenticated(
            "identity.refresh_token_invalid",
            "This is no refresh token of ours.",
        )
    })?;
    let ended = || {
        Error::unauthenticated("identity.session_ended", "This session has ended; sign in again.")
    };
    let (id, now) = (token.session, cx.real_now());
    let mut tx = cx.account_tx().await?;
    let row = lock(&mut tx, id).await?.ok_or_else(ended)?;
    if row.ended_at.is_some() || row.expires_at <= now {
        return Err(ended());
    }
    match judge(token.generation, row.generation, &row.generated_ats, now) {
        Verdict::Rotate => rotate(&cx, &mut tx, id).await?,
        Verdict::Repeat => {}
        Verdict::Replay => {
            end_replayed(&mut tx, id, &row).await?;
            tx.commit().await?;
            return Err(Error::unauthenticated(
                "identity.refresh_token_replayed",
                "This token was used before, so somebody may have a copy: the session has ended.",
            ));
        }
    }
    let next = RefreshToken { session: id, generation: token.generation + 1 };
    let signed_in = session::answer(
        &cx,
        &mut tx,
        &keys,
        row.user_id,
        row.tenant_id,
        next,
        row.authenticated_at,
    )
    .await?;
    tx.commit().await?;
    Ok(Json(signed_in))
}

/// Sign out: ends the session; its tokens stop working at once.
#[endpoint("identity.not_a_session")]
async fn logout(cx: Cx) -> Result<NoContent> {
    let actor = cx.signed_in()?;
    let (Ok(id), freehold_kernel::Principal::User(user)) =
        (actor.credential.parse::<SessionId>(), actor.principal)
    else {
        return Err(Error::forbidden(
            "identity.not_a_session",
            "An API key cannot sign out; delete the key instead.",
        ));
    };
    let mut tx = cx.account_tx().await?;
    revocation::end(&mut tx, id, user, actor.tenant, "logout").await?;
    tx.commit().await?;
    Ok(NoContent)
}

/// `made_ats` says when each of the last generations was made, the current one first.
fn judge(presented: i32, current: i32, made_ats: &[Timestamp], now: Timestamp) -> Verdict {
    match current - presented {
        0 => Verdict::Rotate,
        1 => Verdict::Repeat,
        behind => {
            // The successor was used when the generation after it was made.
            let successor_used = usize::try_from(behind - 2).ok().and_then(|at| made_ats.get(at));
            let in_grace = successor_used.is_some_and(|used| now <= *used + GRACE);
            if in_grace { Verdict::Repeat } else { Verdict::Replay }
        }
    }
}

async fn lock(tx: &mut freehold_kernel::AccountTx, id: SessionId) -> Result<Option<Row>> {
    let row = sqlx::query_as!(
        Row,
        r#"select user_id, tenant_id, generation, generated_ats,
             coalesce(stepped_up_at, created_at) as "authenticated_at!", expires_at, ended_at
           from identity.sessions where id = $1 for update"#,
        *id,
    )
    .fetch_optional(tx.db())
    .await?;
    Ok(row)
}

async fn rotate(cx: &Cx, tx: &mut freehold_kernel::AccountTx, id: SessionId) -> Result<()> {
    let now = cx.real_now();
    sqlx::query!(
        "update identity.sessions
         set generation = generation + 1, expires_at = $3, user_agent = $4, ip = $5,
           generated_ats = (array[$2::timestamptz] || generated_ats)[1:32]
         where id = $1",
        *id,
        now as _,
        (now + IDLE) as _,
        session::user_agent(cx),
        session::ip(cx),
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

async fn end_replayed(tx: &mut freehold_kernel::AccountTx, id: SessionId, row: &Row) -> Result<()> {
    revocation::end(tx, id, row.user_id, row.tenant_id, "replay").await?;
    let home = match row.tenant_id {
        Some(tenant) => tenant,
        None => directory::platform_tenant(tx).await?,
    };
    tx.emit(home, AuthReplayed { user_id: row.user_id, session_id: id }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_lives_until_its_successor_is_used_and_ten_seconds_more() {
        let at = |s: i64| Timestamp::from_unix_ms(s * 1000).unwrap();
        // Generation 5 was made at 100 s, 4 at 99 s, 3 at 50 s.
        let made = [at(100), at(99), at(50)];
        let judged = |presented, now| judge(presented, 5, &made, at(now));
        assert_eq!(judged(5, 999), Verdict::Rotate);
        assert_eq!(judged(4, 999_999), Verdict::Repeat, "5 was never used");
        assert_eq!(judged(3, 110), Verdict::Repeat, "4 was used ten seconds ago");
        assert_eq!(judged(3, 111), Verdict::Replay);
        assert_eq!(judged(2, 109), Verdict::Repeat, "3 was used ten seconds ago, 4 meanwhile");
        assert_eq!(judged(2, 110), Verdict::Replay);
        assert_eq!(judged(1, 61), Verdict::Replay);
        assert_eq!(judged(0, 100), Verdict::Replay, "too long ago to be remembered");
        assert_eq!(judged(6, 100), Verdict::Replay, "from a future nobody was given");
    }
}
