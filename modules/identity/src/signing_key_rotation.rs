//! When signing keys are made and taken away: each signs for 30 days, the next is published two days
//! before its turn, and the one before stays published for 30 days after it.
//!
//! Every node looks after the keys when the time comes that something is to be done; one of them
//! does it, and the change feed tells the others. In between no node asks the database.

use std::sync::Arc;
use std::time::Duration;

use freehold_kernel::{
    AccountTx, App, Change, Error, Event, Result, TenantId, Timestamp, directory,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access_token::{SharedKeys, SigningKeyId, TokenKey};
use crate::signing_keys;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a key signs.
const SIGNS_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long before its turn a key is made, and so published. A day is promised; a node that was
/// down when it was due has another one.
const MADE_AHEAD: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// How long a key stays published after another one took its turn.
const STAYS_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a node looks in any case, in case it missed a word of the change feed.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How often the process's clock is asked whether it is time.
const TICK: Duration = Duration::from_secs(1);

/// In the change feed: a key whose tokens are refused from now on.
pub(crate) const WITHDRAWN: &str = "signing_key";
/// In the change feed: there is a key that was not there before.
pub(crate) const PUBLISHED: &str = "new_signing_key";

/// A key that is to sign access tokens was made and published.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SigningKeyCreated)]
#[event(type = "signingkey.created", subject = signing_key_id)]
pub(crate) struct SigningKeyCreated {
    /// The key, as in the `kid` of a token.
    signing_key_id: SigningKeyId,
    /// When it begins to sign.
    signs_from: Timestamp,
}

/// A key that signed access tokens was taken away; what it signed is refused.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = identity::SigningKeyWithdrawn)]
#[event(type = "signingkey.withdrawn", subject = signing_key_id)]
pub(crate) struct SigningKeyWithdrawn {
    /// The key, as in the `kid` of a token.
    signing_key_id: SigningKeyId,
    /// Why: `expired` 30 days after its last signature, or `emergency`.
    #[schema(example = "expired")]
    reason: &'static str,
}

/// What an emergency rotation did.
#[derive(Clone, Debug)]
pub struct RotatedKeys {
    /// The key that signs from now on.
    pub signs: SigningKeyId,
    /// The keys whose tokens are refused from now on.
    pub withdrawn: Vec<SigningKeyId>,
}

/// For when a private key may have leaked: a new key signs from now on, and every access token
/// signed before is refused, on every node within a second. Sessions go on; clients refresh.
///
/// # Errors
/// When the database fails; then nothing changed.
pub async fn rotate_signing_keys(app: &Arc<App>) -> Result<RotatedKeys> {
    let keys = app
        .state::<SharedKeys>()
        .ok_or_else(|| Error::internal("the identity module is not part of this application"))?;
    let mut tx = app.account_tx().await?;
    hold(&mut tx).await?;
    let now = tx.real_now();
    let before = signing_keys::load(app, &mut tx).await?;
    let withdrawn: Vec<SigningKeyId> = before.iter().map(|key| key.id).collect();
    for id in &withdrawn {
        withdraw(&mut tx, *id, "emergency").await?;
    }
    let new = publish(app, &mut tx, now).await?;
    let signs = new.id;
    // Before the commit, which makes this node forget the others: somebody may be signing in.
    keys.add(new);
    if let Err(error) = tx.commit().await {
        keys.withdraw(&signs.to_string());
        return Err(error);
    }
    Ok(RotatedKeys { signs, withdrawn })
}

/// Looks after the keys until the process stops.
pub(crate) async fn keep(app: Arc<App>, keys: SharedKeys, mut next: Timestamp) {
    loop {
        tokio::select! {
            () = keys.changed() => {}
            () = reached(&app, next) => {}
        }
        next = match look_after(&app, &keys).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the signing keys could not be looked after");
                app.config().clock.now() + RETRY_AFTER
            }
        };
    }
}

/// Waits for a moment of the process's clock.
async fn reached(app: &App, moment: Timestamp) {
    while app.config().clock.now() < moment {
        tokio::time::sleep(TICK).await;
    }
}

/// Does what is due, loads what there is, and says when to look again. The very first look of an
/// installation makes its first key.
pub(crate) async fn look_after(app: &Arc<App>, keys: &SharedKeys) -> Result<Timestamp> {
    let mut tx = app.account_tx().await?;
    hold(&mut tx).await?;
    let now = tx.real_now();
    let mut held = signing_keys::load(app, &mut tx).await?;
    let turns: Vec<Timestamp> = held.iter().map(|key| key.signs_from).collect();
    for key in held.drain(..over(&turns, now)) {
        withdraw(&mut tx, key.id, "expired").await?;
    }
    if let Some(signs_from) = next_turn(&turns, now) {
        held.push(publish(app, &mut tx, signs_from).await?);
    }
    tx.commit().await?;
    let turns: Vec<Timestamp> = held.iter().map(|key| key.signs_from).collect();
    keys.replace(held);
    Ok(next_look(&turns, now))
}

/// Two nodes that do this at once must not make two keys.
async fn hold(tx: &mut AccountTx) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(7235410002)").execute(tx.db()).await?;
    Ok(())
}

async fn publish(app: &Arc<App>, tx: &mut AccountTx, signs_from: Timestamp) -> Result<TokenKey> {
    let key = signing_keys::make(app, tx, signs_from).await?;
    let home = home(tx).await?;
    tx.emit(home, SigningKeyCreated { signing_key_id: key.id, signs_from }).await?;
    tx.announce(Change::of(PUBLISHED, &key.id));
    Ok(key)
}

async fn withdraw(tx: &mut AccountTx, id: SigningKeyId, reason: &'static str) -> Result<()> {
    sqlx::query!("delete from identity.signing_keys where id = $1", *id).execute(tx.db()).await?;
    let home = home(tx).await?;
    tx.emit(home, SigningKeyWithdrawn { signing_key_id: id, reason }).await?;
    tx.announce(Change::of(WITHDRAWN, &id));
    Ok(())
}

/// What concerns all tenants is the platform's.
async fn home(tx: &mut AccountTx) -> Result<TenantId> {
    directory::platform_tenant(tx).await
}

/// When another key is to begin signing, if it is time to make it. `turns` are the beginnings of
/// those there are, the earliest first.
fn next_turn(turns: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let Some(last) = turns.last() else { return Some(now) };
    let turn = *last + SIGNS_FOR;
    // Late is better than unannounced.
    (turn <= now + MADE_AHEAD).then(|| turn.max(now + DAY))
}

/// How many of the first have been followed by another one for so long that they go.
fn over(turns: &[Timestamp], now: Timestamp) -> usize {
    turns.iter().skip(1).take_while(|followed| **followed + STAYS_FOR <= now).count()
}

/// When something is to be done next.
fn next_look(turns: &[Timestamp], now: Timestamp) -> Timestamp {
    let make = turns.last().map(|last| *last + (SIGNS_FOR - MADE_AHEAD));
    let withdraw = turns.get(1).map(|followed| *followed + STAYS_FOR);
    let due = [make, withdraw, Some(now + LOOK_EVERY)].into_iter().flatten().min();
    // A node whose clock is ahead of others' does not look without pause.
    due.unwrap_or(now).max(now + TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_unix_seconds(day * 86_400).unwrap()
    }

    #[test]
    fn the_next_key_is_made_two_days_before_its_turn_and_never_a_day_before_it_signs_or_later() {
        assert_eq!(next_turn(&[], day(5)), Some(day(5)), "the first has nobody to wait for");
        assert_eq!(next_turn(&[day(0)], day(27)), None);
        assert_eq!(next_turn(&[day(0)], day(28)), Some(day(30)));
        assert_eq!(next_turn(&[day(0), day(30)], day(29)), None, "it is there already");
        assert_eq!(next_turn(&[day(0), day(30)], day(58)), Some(day(60)));
        assert_eq!(next_turn(&[day(0)], day(100)), Some(day(101)), "nothing ran for months");
    }

    #[test]
    fn a_key_stays_for_30_days_after_its_successor_took_over() {
        assert_eq!(over(&[day(0)], day(999)), 0, "the only one stays");
        assert_eq!(over(&[day(0), day(30)], day(59)), 0);
        assert_eq!(over(&[day(0), day(30)], day(60)), 1);
        assert_eq!(over(&[day(0), day(30), day(60)], day(89)), 1);
        assert_eq!(over(&[day(0), day(30), day(60)], day(90)), 2);
    }

    #[test]
    fn a_node_looks_when_something_is_due_and_every_hour() {
        assert_eq!(next_look(&[day(0)], day(1)), day(1) + LOOK_EVERY);
        let soon = day(28) - Duration::from_secs(60);
        assert_eq!(next_look(&[day(0)], soon), day(28));
        assert_eq!(next_look(&[day(0), day(30), day(60)], soon), soon + LOOK_EVERY);
        assert_eq!(next_look(&[day(0)], day(40)), day(40) + TICK, "never without a pause");
    }
}
