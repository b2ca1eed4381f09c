//! Dispatching: each subscriber takes its batches in transactions of its own, so a broken one stops
//! nobody else, and what it derives commits together with the rows it takes off the outbox.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::caught;
use super::job::interval;
use super::outbox::{StoredEvent, Subscriber};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::event::EventId;
use crate::time::Timestamp;
use crate::tx::SystemTx;

const BATCH: i64 = 200;
/// How often one event is tried by itself before it is put aside.
const TRIES: i32 = 5;

/// An event that waits for a subscriber.
struct Waiting {
    event_id: Uuid,
    tenant_id: Uuid,
    event_at: Timestamp,
    failures: i32,
}

/// Handles whatever waits for a subscriber, whenever there is something.
pub(super) async fn serve(app: Arc<App>, subscriber: Subscriber) {
    loop {
        match batch(&app, subscriber).await {
            Ok(full) if full => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(subscriber = subscriber.name, %error, "dispatching failed");
            }
        }
        app.wakers().outbox(subscriber.name).notified().await;
    }
}

/// One batch; says whether there may be more.
async fn batch(app: &Arc<App>, subscriber: Subscriber) -> Result<bool> {
    let mut tx = SystemTx::begin_redoable(app.origin()).await?;
    let waiting = take(&mut tx, subscriber.name).await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let full = i64::try_from(waiting.len()).is_ok_and(|taken| taken == BATCH);
    if let Err(error) = handle(tx, subscriber, &waiting).await {
        tracing::warn!(subscriber = subscriber.name, %error, "a batch failed; trying one by one");
        for one in &waiting {
            alone(app, subscriber, one).await?;
        }
    }
    Ok(full)
}

/// Everything that may fail because of an event, the commit included.
async fn handle(mut tx: SystemTx, subscriber: Subscriber, waiting: &[Waiting]) -> Result<()> {
    let events = load(&mut tx, waiting).await?;
    caught((subscriber.handle)(&mut tx, &events)).await?;
    tx.commit().await
}

/// Takes rows off the outbox. They are back if the transaction does not commit.
async fn take(tx: &mut SystemTx, subscriber: &str) -> Result<Vec<Waiting>> {
    let taken = sqlx::query_as!(
        Waiting,
        "with due as (
           select event_id from core.outbox
           where subscriber = $1 and due_at <= clock_timestamp()
           order by event_id limit $2 for update skip locked
         )
         delete from core.outbox o using due
         where o.subscriber = $1 and o.event_id = due.event_id
         returning o.event_id, o.tenant_id, o.event_at, o.failures",
        subscriber,
        BATCH,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(taken)
}

async fn load(tx: &mut SystemTx, waiting: &[Waiting]) -> Result<Vec<StoredEvent>> {
    let tenants: Vec<Uuid> = waiting.iter().map(|row| row.tenant_id).collect();
    let ids: Vec<Uuid> = waiting.iter().map(|row| row.event_id).collect();
    let ats: Vec<Timestamp> = waiting.iter().map(|row| row.event_at).collect();
    let rows = sqlx::query!(
        "-- tidy: across tenants because a batch holds events of many
         select e.tenant_id, e.id, e.at, e.source, e.type, e.actor, e.subject, e.data
         from unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) as w (tenant_id, at, id)
         -- A lateral with a limit is looked up for each row, whatever the planner expects.
         cross join lateral (
           select * from core.events e
           where e.tenant_id = w.tenant_id and e.at = w.at and e.id = w.id limit 1) as e
         order by e.id",
        &tenants,
        ats as _,
        &ids,
    )
    .fetch_all(tx.db())
    .await?;
    let stored = rows.into_iter().map(|row| StoredEvent {
        tenant: TenantId::from_uuid(row.tenant_id),
        id: EventId::from_uuid(row.id),
        at: row.at,
        source: row.source,
        kind: row.r#type,
        actor: row.actor,
        subject: row.subject,
        data: row.data,
    });
    Ok(stored.collect())
}

/// One event by itself: handled, tried again later, or put aside.
async fn alone(app: &Arc<App>, subscriber: Subscriber, one: &Waiting) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let taken = sqlx::query!(
        "delete from core.outbox where subscriber = $1 and event_id in (
           select event_id from core.outbox where subscriber = $1 and event_id = $2
           for update skip locked)",
        subscriber.name,
        one.event_id,
    )
    .execute(tx.db())
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(());
    }
    match handle(tx, subscriber, std::slice::from_ref(one)).await {
        Ok(()) => Ok(()),
        Err(error) => note_failure(app, subscriber, one, &error).await,
    }
}

async fn note_failure(
    app: &Arc<App>,
    subscriber: Subscriber,
    one: &Waiting,
    error: &Error,
) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    if one.failures + 1 < TRIES {
        let wait = Duration::from_secs(1 << one.failures.clamp(0, 10));
        sqlx::query!(
            "update core.outbox set failures = failures + 1, due_at = clock_timestamp() + $3
             where subscriber = $1 and event_id = $2",
            subscriber.name,
            one.event_id,
            interval(wait),
        )
        .execute(tx.db())
        .await?;
    } else {
        let text = error.to_string();
        tracing::error!(subscriber = subscriber.name, event = %one.event_id, %text, "an event was put aside");
        sqlx::query!(
            "with dead as (delete from core.outbox where subscriber = $1 and event_id = $2
               returning subscriber, event_id, tenant_id, event_at)
             insert into core.outbox_dead (subscriber, event_id, tenant_id, event_at, error)
             select subscriber, event_id, tenant_id, event_at, $3 from dead
             on conflict (subscriber, event_id) do update set error = excluded.error",
            subscriber.name,
            one.event_id,
            text,
        )
        .execute(tx.db())
        .await?;
    }
    tx.commit().await
}
