//! Asking somebody who is signed in for their password again, before what a thief of their tokens
//! must not do.

use freehold_kernel::{Cx, Error, Principal, Result, UserId};

use crate::flood::Flood;
use crate::lockout::{Counter, Failure};
use crate::password::Hasher;
use crate::session::SessionId;
use crate::turns::Caller;

/// Somebody whose password was right a moment ago.
pub(crate) struct Reauthenticated {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) email: String,
    pub(crate) name: String,
    /// The hash that the password was checked against.
    pub(crate) hash: String,
    /// To be cleared in the transaction of what they may do now.
    pub(crate) failures: Counter,
}

/// Checks the password of whoever asks. A wrong one is counted against their session only: a thief
/// of its tokens must not get to lock the owner out everywhere.
///
/// # Errors
/// 403 for a key, 422 `identity.wrong_password` at `pointer`, 429 after five wrong ones.
pub(crate) async fn reauthenticate(
    cx: &Cx,
    hasher: &Hasher,
    flood: &Flood,
    password: &str,
    pointer: &'static str,
) -> Result<Reauthenticated> {
    let actor = cx.signed_in()?;
    let (Ok(session), Principal::User(user)) =
        (actor.credential.parse::<SessionId>(), actor.principal)
    else {
        return Err(Error::forbidden(
            "identity.not_a_session",
            "Only a person who signed in has a password; a key does not.",
        ));
    };
    let failures = Counter::of_session(cx.app().keyring(), session)?;
    let mut tx = cx.account_tx().await?;
    failures.check(&mut tx, flood).await?;
    let person = sqlx::query!(
        r#"select u.email, u.name, p.hash as "hash?"
           from core.users u left join identity.passwords p on p.user_id = u.id
           where u.id = $1 and u.status = 'active'"#,
        *user,
    )
    .fetch_one(tx.db())
    .await?;
    // Nobody waits for a CPU while holding a connection.
    drop(tx);
    let right = hasher.verify(Caller::Known, password, person.hash.clone()).await?;
    let Some(hash) = person.hash.filter(|_| right) else {
        let mut tx = cx.account_tx().await?;
        let failure =
            Failure { person: Some(user), method: "reauthentication", email: person.email };
        failures.fail(&mut tx, failure).await?;
        tx.commit().await?;
        return Err(Error::invalid(
            pointer,
            "identity.wrong_password",
            "this is not your password",
        ));
    };
    Ok(Reauthenticated { user, session, email: person.email, name: person.name, hash, failures })
}
