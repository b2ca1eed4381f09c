//! `GET /auth/sessions`, `DELETE /auth/sessions/{id}` and `POST /auth/logout-all`: where a person is
//! signed in.

use freehold_kernel::{
    AccountTx, Cx, Error, List, NoContent, NoFilter, Page, Path, Principal, Result, Routes,
    SIGNED_IN, TenantId, Timestamp, UserId, endpoint,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api_keys::ApiKeyId;
use crate::revocation;
use crate::session::SessionId;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/auth")
        .get("/sessions", SIGNED_IN, list_sessions)
        .delete("/sessions/{id}", SIGNED_IN, revoke_session)
        .post("/logout-all", SIGNED_IN, logout_all)
}

/// One place where a person is signed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SessionSummary)]
struct SessionSummary {
    /// The session.
    id: SessionId,
    /// Whether it is the one that asks.
    #[schema(example = true)]
    current: bool,
    /// The browser or program, in its own words, as of its last refresh.
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0")]
    user_agent: Option<String>,
    /// The address it was last refreshed from.
    #[schema(example = "203.0.113.7")]
    ip: Option<String>,
    /// The tenant it acts in.
    tenant_id: Option<TenantId>,
    /// When the person signed in.
    created_at: Timestamp,
    /// When it was last refreshed; one in use is refreshed every ten minutes.
    last_used_at: Timestamp,
    /// When the person last gave their password in it.
    authenticated_at: Timestamp,
    /// When it ends unless it is refreshed.
    expires_at: Timestamp,
}

struct Row {
    id: SessionId,
    user_agent: Option<String>,
    ip: Option<String>,
    tenant_id: Option<TenantId>,
    created_at: Timestamp,
    last_used_at: Timestamp,
    authenticated_at: Timestamp,
    expires_at: Timestamp,
}

impl Row {
    fn seen_from(self, current: Option<SessionId>) -> SessionSummary {
        SessionSummary {
            current: Some(self.id) == current,
            id: self.id,
            user_agent: self.user_agent,
            ip: self.ip,
            tenant_id: self.tenant_id,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            authenticated_at: self.authenticated_at,
            expires_at: self.expires_at,
        }
    }
}

/// List where I am signed in, the newest sign-in first.
#[endpoint("identity.not_a_session")]
async fn list_sessions(list: List<NoFilter>, cx: Cx) -> Result<Page<SessionSummary>> {
    let (user, current) = caller(&cx)?;
    let now = cx.real_now();
    let mut tx = cx.account_tx().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select id, user_agent, ip, tenant_id, created_at, generated_ats[1] as "last_used_at!",
             coalesce(stepped_up_at, created_at) as "authenticated_at!", expires_at
           from identity.sessions
           where user_id = $1 and ended_at is null and expires_at > $2
             and ($3::uuid is null or id < $3)
           order by id desc limit $4"#,
        *user,
        now as _,
        list.after::<Uuid>()?,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    let sessions = rows.into_iter().map(|row| row.seen_from(current)).collect();
    list.page(sessions, |session: &SessionSummary| *session.id)
}

/// Sign out somewhere: ends one of my sessions; its tokens stop working at once.
#[endpoint("identity.not_a_session")]
async fn revoke_session(cx: Cx, Path(id): Path<SessionId>) -> Result<NoContent> {
    let (user, _) = caller(&cx)?;
    let mut tx = cx.account_tx().await?;
    let tenant = tenant_of_live(&mut tx, id, user).await?;
    revocation::end(&mut tx, id, user, tenant, "revoked").await?;
    tx.commit().await?;
    Ok(NoContent)
}

/// Sign out everywhere: ends all of my sessions, the one that asks included.
///
/// Whoever stole the tokens of a session may be in this one. To stay signed in here, change the
/// password instead, or end the others one by one.
#[endpoint("identity.not_a_session")]
async fn logout_all(cx: Cx) -> Result<NoContent> {
    let (user, _) = caller(&cx)?;
    let mut tx = cx.account_tx().await?;
    revocation::end_all(&mut tx, user, None, "logout_all").await?;
    tx.commit().await?;
    Ok(NoContent)
}

/// A person who signed in, and in which session. A key belongs to one tenant and has bounds; where
/// its owner is signed in is none of its business.
fn caller(cx: &Cx) -> Result<(UserId, Option<SessionId>)> {
    let actor = cx.signed_in()?;
    match actor.principal {
        Principal::User(user) if actor.credential.parse::<ApiKeyId>().is_err() => {
            Ok((user, actor.credential.parse().ok()))
        }
        _ => Err(Error::forbidden(
            "identity.not_a_session",
            "Only a person who signed in has sessions; a key does not.",
        )),
    }
}

/// The tenant of a person's live session.
async fn tenant_of_live(
    tx: &mut AccountTx,
    id: SessionId,
    user: UserId,
) -> Result<Option<TenantId>> {
    let now = tx.real_now();
    let tenant = sqlx::query_scalar!(
        "select tenant_id from identity.sessions
         where id = $1 and user_id = $2 and ended_at is null and expires_at > $3 for update",
        *id,
        *user,
        now as _,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(tenant)
}
