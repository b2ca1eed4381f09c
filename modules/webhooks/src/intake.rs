//! Group commit: while one transaction takes events, those that come meanwhile gather for the next
//! one, of whatever tenant and request. A COMMIT that waits for the disk is then paid by many, and so
//! is every statement (docs/adr/0013).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freehold_kernel::{App, CustomEvent, Cx, Error, EventId, Kind, Result, TenantId, Tx};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::dispatch::{self, Happened, Room, Widths};
use crate::event_keys::{self, Key, Known};
use crate::waiting::{Answer, Queue, Waiting};

/// Our subscriber, as the outbox knows it.
const SUBSCRIBER: &str = "webhooks";

/// What a request brings.
#[derive(Clone)]
pub(crate) struct Brought {
    pub(crate) tenant: TenantId,
    /// Each once.
    pub(crate) events: Vec<CustomEvent>,
    /// The callers' ids of some of them.
    pub(crate) keys: Vec<Key>,
    /// Of all that the request listed, in its order: what it is answered.
    pub(crate) ids: Vec<EventId>,
    /// Of the events' data.
    pub(crate) bytes: usize,
}

impl Brought {
    /// Leaves out what came before.
    fn without(mut self, known: &[Known]) -> Result<Self> {
        for (key, known) in self.keys.iter().zip(known) {
            match known {
                Known::Fresh => {}
                Known::Other => return Err(event_keys::reused("")),
                Known::Same(earlier) => {
                    self.events.retain(|event| event.id != key.event);
                    let of_it = self.ids.iter_mut().filter(|id| **id == key.event);
                    of_it.for_each(|id| *id = *earlier);
                }
            }
        }
        Ok(self)
    }
}

/// Takes what a request brings in a transaction of its own.
pub(crate) async fn alone(mut tx: Tx, brought: Brought) -> Result<Vec<EventId>> {
    let now = tx.real_now();
    let known = event_keys::hold(tx.db(), now, &brought.keys).await?;
    let brought = brought.without(&known)?;
    brought.events.into_iter().for_each(|event| tx.emit_custom(event));
    Ok(brought.ids)
}

/// What waits on this node.
#[derive(Clone)]
pub(crate) struct Intake {
    waiting: Arc<Mutex<Queue>>,
    /// One transaction at a time: a second one would only make groups smaller.
    turn: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        Self { waiting: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Intake {
    /// Takes what a request brings, together with whatever else waits; answered once it is committed.
    ///
    /// # Errors
    /// 503 `core.timeout` when that takes so long that nobody can say whether it was.
    pub(crate) async fn take(&self, app: &Arc<App>, brought: Brought) -> Answer {
        // Before the request's own time is up, whose refusal says that nothing was changed.
        let patience = app.config().limits.request_timeout.mul_f64(0.9);
        timeout(patience, self.take_patiently(app, brought))
            .await
            .unwrap_or_else(|_| Err(took_too_long()))
    }

    async fn take_patiently(&self, app: &Arc<App>, brought: Brought) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push(Waiting { brought, answer })?;
        tokio::select! {
            biased;
            answer = &mut answered => return answer.map_err(Error::internal)?,
            turn = self.turn.clone().acquire_owned() => {
                let turn = turn.map_err(Error::internal)?;
                // A task of its own: whoever waits no longer must not stop what others wait for.
                tokio::spawn(self.clone().work_off(app.clone(), turn));
            }
        }
        answered.await.map_err(Error::internal)?
    }

    async fn work_off(self, app: Arc<App>, _turn: OwnedSemaphorePermit) {
        loop {
            let group = self.waiting().next_group();
            if group.is_empty() {
                // Whoever comes now finds the turn free, or waits for it.
                return;
            }
            commit(&app, group).await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Queue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn took_too_long() -> Error {
    let words = "This took too long, and whether the events were taken is not known. Send them \
                 again with the same ids.";
    Error::unavailable("core.timeout", words, 1)
}

async fn commit(app: &Arc<App>, group: Vec<Waiting>) {
    let brought = group.iter().map(|one| one.brought.clone()).collect();
    match caught(app, brought, true).await {
        Ok(answers) => {
            for (answer, waiting) in answers.into_iter().zip(group) {
                // Whoever has gone away is told when they ask again.
                let _ = waiting.answer.send(answer);
            }
        }
        Err(error) => {
            tracing::warn!(%error, requests = group.len(), "events could not be taken together");
            apart(app, group, &error).await;
        }
    }
}

/// One by one, so that one harms no other, and through the outbox, so that nothing but the events
/// themselves can stand in their way. Where the database is away, none can be taken.
async fn apart(app: &Arc<App>, group: Vec<Waiting>, error: &Error) {
    let is_away = error.kind() == Kind::Unavailable && error.code() != "core.busy";
    let again = || {
        let seconds = error.retry_after_s().unwrap_or(1);
        Error::unavailable(error.code(), error.detail(), seconds)
    };
    for Waiting { brought, answer } in group {
        // The turn is others' while this lasts: nobody is served who has stopped waiting.
        if answer.is_closed() {
            continue;
        }
        let taken = if is_away { Err(again()) } else { caught(app, vec![brought], false).await };
        let taken = taken.and_then(|mut ids| ids.pop().unwrap_or_else(|| Ok(Vec::new())));
        let _ = answer.send(taken);
    }
}

/// As [`together`]; in a task of its own, so that a fault in it is a failure and no more. A database
/// that has fallen silent without hanging up must not hold everybody's turn: nobody waits any longer
/// than a request may take.
async fn caught(app: &Arc<App>, group: Vec<Brought>, at_once: bool) -> Result<Vec<Answer>> {
    let (app, patience) = (app.clone(), app.config().limits.request_timeout);
    let work = async move {
        timeout(patience, together(&app, group, at_once)).await.map_err(|_| took_too_long())?
    };
    tokio::spawn(work).await.map_err(Error::internal)?
}

/// Takes all of it in one transaction; one answer for each. `at_once`: their deliveries, too.
async fn together(app: &Arc<App>, group: Vec<Brought>, at_once: bool) -> Result<Vec<Answer>> {
    let mut tx = Cx::group_tx(app).await?;
    let keys: Vec<Key> = group.iter().flat_map(|brought| brought.keys.iter().cloned()).collect();
    let now = tx.real_now();
    let mut known = event_keys::hold(tx.db(), now, &keys).await?.into_iter();
    let mut answers = Vec::with_capacity(group.len());
    let (mut taken, mut refused) = (Vec::with_capacity(group.len()), Vec::new());
    for brought in group {
        let known: Vec<Known> = known.by_ref().take(brought.keys.len()).collect();
        let keys = brought.keys.clone();
        answers.push(match brought.without(&known) {
            Ok(Brought { tenant, events, ids, .. }) => {
                taken.push((tenant, events));
                Ok(ids)
            }
            Err(refusal) => {
                refused.extend(keys);
                Err(refusal)
            }
        });
    }
    if !refused.is_empty() {
        event_keys::give_back(&mut tx, &refused).await?;
    }
    let mut room = Room::of(app.state::<Widths>().unwrap_or_default());
    let (direct, later): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|(tenant, events)| at_once && room.takes(*tenant, events));
    let happened = direct
        .iter()
        .flat_map(|(tenant, events)| events.iter().map(|event| Happened::custom(*tenant, event)));
    dispatch::fan_out(&mut tx, &happened.collect::<Vec<_>>()).await?;
    for (handled_by, requests) in [(Some(SUBSCRIBER), direct), (None, later)] {
        for (tenant, events) in requests {
            events.into_iter().for_each(|event| tx.emit_custom(tenant, event, handled_by));
        }
    }
    tx.commit().await?;
    Ok(answers)
}
