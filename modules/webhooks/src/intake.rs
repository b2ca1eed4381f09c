//! Group commit: while one transaction takes events, those that come meanwhile gather for the next
//! one, of whatever tenant and request. A COMMIT that waits for the disk is then paid by many, and so
//! is every statement (docs/adr/0013).

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freehold_kernel::{App, CustomEvent, Cx, Error, EventId, Kind, Result, TenantId, Tx};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use crate::dispatch::{self, Happened, Widths};
use crate::event_keys::{self, Key, Known};

/// Our subscriber, as the outbox knows it.
const SUBSCRIBER: &str = "webhooks";
/// Events in one transaction, and the bytes of their data, but for a request that alone has more.
const EVENTS_MAX: usize = 512;
const BYTES_MAX: usize = 4 * 1024 * 1024;

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

type Answer = Result<Vec<EventId>>;

/// A request that waits for its turn.
struct Waiting {
    brought: Brought,
    answer: oneshot::Sender<Answer>,
}

/// What waits on this node.
#[derive(Clone)]
pub(crate) struct Intake {
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
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
        timeout(patience, self.take_patiently(app, brought)).await.unwrap_or_else(|_| {
            let words = "This took too long, and whether the events were taken is not known. Send \
                         them again with the same ids.";
            Err(Error::unavailable("core.timeout", words, 1))
        })
    }

    async fn take_patiently(&self, app: &Arc<App>, brought: Brought) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push_back(Waiting { brought, answer });
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
            let group = next_group(&mut self.waiting());
            if group.is_empty() {
                // Whoever comes now finds the turn free, or waits for it.
                return;
            }
            commit(&app, group).await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest that fit together. Two requests with one id cannot: the second one has to see what
/// became of the first.
fn next_group(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    // Whoever has waited too long was told that nothing was taken.
    waiting.retain(|one| !one.answer.is_closed());
    let (mut events, mut bytes, mut count) = (0, 0, 0);
    let mut keys: HashSet<(Uuid, &str)> = HashSet::new();
    for Waiting { brought, .. } in waiting.iter() {
        events += brought.events.len();
        bytes += brought.bytes;
        let fits = events <= EVENTS_MAX && bytes <= BYTES_MAX;
        if count > 0 && (!fits || brought.keys.iter().any(|key| keys.contains(&key.place()))) {
            break;
        }
        keys.extend(brought.keys.iter().map(Key::place));
        count += 1;
    }
    waiting.drain(..count).collect()
}

async fn commit(app: &Arc<App>, group: Vec<Waiting>) {
    let (brought, waiting): (Vec<Brought>, Vec<_>) =
        group.into_iter().map(|one| (one.brought, one.answer)).unzip();
    let answers = match caught(app, brought.clone(), true).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::warn!(%error, requests = brought.len(), "events could not be taken together");
            apart(app, brought, &error).await
        }
    };
    for (answer, waiting) in answers.into_iter().zip(waiting) {
        // Whoever has gone away is told when they ask again.
        let _ = waiting.send(answer);
    }
}

/// One by one, so that one harms no other, and through the outbox, so that nothing but the events
/// themselves can stand in their way.
async fn apart(app: &Arc<App>, group: Vec<Brought>, error: &Error) -> Vec<Answer> {
    let is_away = error.kind() == Kind::Unavailable;
    let mut answers = Vec::with_capacity(group.len());
    for brought in group {
        answers.push(match is_away {
            true => Err(Error::unavailable("core.busy", error.detail(), 1)),
            false => caught(app, vec![brought], false)
                .await
                .and_then(|mut answers| answers.pop().unwrap_or_else(|| Ok(Vec::new()))),
        });
    }
    answers
}

/// As [`together`]; in a task of its own, so that a fault in it is a failure and no more.
async fn caught(app: &Arc<App>, group: Vec<Brought>, at_once: bool) -> Result<Vec<Answer>> {
    let app = app.clone();
    let work = tokio::spawn(async move { together(&app, group, at_once).await });
    work.await.map_err(Error::internal)?
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
    let widths: Widths = app.state().unwrap_or_default();
    let (direct, later): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|(tenant, events)| at_once && widths.are_few(*tenant, events));
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A request with so many events and these ids of the caller's; still waited for while the second
    /// part lives.
    fn request(
        tenant: TenantId,
        events: usize,
        keys: &[&str],
    ) -> (Waiting, oneshot::Receiver<Answer>) {
        let event = || {
            let id = EventId::new();
            let (kind, actor) = ("order.paid".to_owned(), "system".to_owned());
            let (subject, request_id) = (id.to_string(), String::new());
            let at = freehold_kernel::Timestamp::from_unix_seconds(0).unwrap();
            let (data, occurred_at) = (Value::Null, None);
            CustomEvent { id, at, kind, actor, subject, request_id, data, occurred_at }
        };
        let events: Vec<CustomEvent> = (0..events).map(|_| event()).collect();
        let keys = keys.iter().map(|text| Key {
            tenant,
            text: (*text).to_owned(),
            event: EventId::new(),
            fingerprint: [0; 32],
        });
        let (keys, ids) = (keys.collect(), Vec::new());
        let (answer, answered) = oneshot::channel();
        (Waiting { brought: Brought { tenant, events, keys, ids, bytes: 10 }, answer }, answered)
    }

    /// How many requests each group takes of those that wait.
    fn groups(requests: Vec<(Waiting, oneshot::Receiver<Answer>)>) -> Vec<usize> {
        let (waiting, _answered): (VecDeque<_>, Vec<_>) = requests.into_iter().unzip();
        let mut waiting = waiting;
        std::iter::from_fn(|| {
            let group = next_group(&mut waiting).len();
            (group > 0).then_some(group)
        })
        .collect()
    }

    #[test]
    fn a_group_is_as_large_as_it_may_be_and_one_large_request_is_a_group() {
        let tenant = TenantId::new();
        let sized = |sizes: &[usize]| {
            groups(sizes.iter().map(|size| request(tenant, *size, &[])).collect())
        };
        assert_eq!(sized(&[1; 512]), [512]);
        assert_eq!(sized(&[200, 200, 200, 1]), [2, 2]);
        assert_eq!(sized(&[1_000, 1_000, 5]), [1, 1, 1]);
        assert_eq!(sized(&[]), [0_usize; 0]);
    }

    #[test]
    fn two_requests_with_one_id_of_a_tenants_are_never_taken_together() {
        let (one, other) = (TenantId::new(), TenantId::new());
        let waiting = vec![
            request(one, 1, &["a"]),
            request(other, 1, &["a"]),
            request(one, 1, &["b", "a"]),
            request(one, 1, &["c"]),
        ];
        assert_eq!(groups(waiting), [2, 2]);
    }

    #[test]
    fn whoever_has_gone_away_is_left_out() {
        let tenant = TenantId::new();
        let (gone, answered) = request(tenant, 1, &["a"]);
        drop(answered);
        let (there, _answered) = request(tenant, 1, &["a"]);
        let mut waiting = VecDeque::from([gone, there]);
        assert_eq!(next_group(&mut waiting).len(), 1);
        assert!(waiting.is_empty());
    }
}
