//! Requests that wait to be taken: each tenant's in their order, tenants in turns, so that nobody waits
//! behind all that somebody else has sent.

use std::collections::{HashMap, HashSet, VecDeque};

use freehold_kernel::{Error, EventId, Result, TenantId};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::event_keys::Key;
use crate::intake::Brought;

/// Events in one transaction, and the bytes of their data, but for a request that alone has more.
const EVENTS_MAX: usize = 512;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that wait, of one tenant and of all: whoever sends faster than we take is told so at once.
const WAITING_OF_ONE_MAX: usize = 8 * 1024 * 1024;
const WAITING_MAX: usize = 64 * 1024 * 1024;
/// What a request costs beside its data.
const BYTES_EACH: usize = 4 * 1024;

pub(crate) type Answer = Result<Vec<EventId>>;

/// A request that waits for its turn.
pub(crate) struct Waiting {
    pub(crate) brought: Brought,
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.brought.bytes + BYTES_EACH
    }
}

/// Requests of one tenant.
#[derive(Default)]
struct Requests {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// All that wait.
#[derive(Default)]
pub(crate) struct Queue {
    of: HashMap<TenantId, Requests>,
    /// Whose turn is next; each who has something there, once.
    turns: VecDeque<TenantId>,
    bytes: usize,
}

/// What is taken together.
#[derive(Default)]
struct Group {
    requests: Vec<Waiting>,
    events: usize,
    bytes: usize,
    keys: HashSet<(Uuid, String)>,
}

impl Queue {
    /// Puts a request behind the others of its tenant.
    ///
    /// # Errors
    /// 503 `core.busy` when too much waits already.
    pub(crate) fn push(&mut self, waiting: Waiting) -> Result<()> {
        let (tenant, bytes) = (waiting.brought.tenant, waiting.bytes());
        let of_one = self.of.get(&tenant).map_or(0, |requests| requests.bytes);
        if of_one + bytes > WAITING_OF_ONE_MAX || self.bytes + bytes > WAITING_MAX {
            let words = "More events wait than can be taken at once; send them again, more slowly.";
            return Err(Error::unavailable("core.busy", words, 1));
        }
        let requests = self.of.entry(tenant).or_insert_with(|| {
            self.turns.push_back(tenant);
            Requests::default()
        });
        requests.waiting.push_back(waiting);
        requests.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// What is to be taken together next; empty when nothing waits.
    pub(crate) fn next_group(&mut self) -> Vec<Waiting> {
        let mut group = Group::default();
        // Whose next request must see what becomes of one in this group: they begin the next one.
        let mut aside = Vec::new();
        while let Some(tenant) = self.turns.pop_front() {
            let Some(next) = self.next_of(tenant) else { continue };
            if !group.has_room_for(&next.brought) {
                self.turns.push_front(tenant);
                break;
            }
            if group.has_key_of(&next.brought) {
                aside.push(tenant);
                continue;
            }
            if let Some(waiting) = self.pop(tenant) {
                group.push(waiting);
                self.turns.push_back(tenant);
            }
        }
        aside.into_iter().rev().for_each(|tenant| self.turns.push_front(tenant));
        group.requests
    }

    /// The first request of a tenant that somebody still waits for. Whoever has waited too long was
    /// told that nobody knows, and is forgotten.
    fn next_of(&mut self, tenant: TenantId) -> Option<&Waiting> {
        while self.of.get(&tenant)?.waiting.front().is_some_and(|one| one.answer.is_closed()) {
            self.pop(tenant);
        }
        if self.of.get(&tenant)?.waiting.is_empty() {
            self.of.remove(&tenant);
        }
        self.of.get(&tenant)?.waiting.front()
    }

    fn pop(&mut self, tenant: TenantId) -> Option<Waiting> {
        let requests = self.of.get_mut(&tenant)?;
        let waiting = requests.waiting.pop_front()?;
        requests.bytes -= waiting.bytes();
        self.bytes -= waiting.bytes();
        Some(waiting)
    }
}

impl Group {
    fn has_room_for(&self, brought: &Brought) -> bool {
        let fits = self.events + brought.events.len() <= EVENTS_MAX
            && self.bytes + brought.bytes <= BYTES_MAX;
        fits || self.requests.is_empty()
    }

    /// Two requests with one id cannot be taken together: the second one has to see what became of
    /// the first.
    fn has_key_of(&self, brought: &Brought) -> bool {
        brought.keys.iter().any(|key| self.keys.contains(&owned(key)))
    }

    fn push(&mut self, waiting: Waiting) {
        self.events += waiting.brought.events.len();
        self.bytes += waiting.brought.bytes;
        self.keys.extend(waiting.brought.keys.iter().map(owned));
        self.requests.push(waiting);
    }
}

fn owned(key: &Key) -> (Uuid, String) {
    let (tenant, text) = key.place();
    (tenant, text.to_owned())
}

#[cfg(test)]
mod tests {
    use freehold_kernel::CustomEvent;
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
        let (waiting, _answered): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let mut queue = Queue::default();
        waiting.into_iter().for_each(|one| queue.push(one).unwrap());
        let groups = std::iter::from_fn(|| {
            let group = queue.next_group().len();
            (group > 0).then_some(group)
        });
        let groups = groups.collect();
        assert!(queue.of.is_empty() && queue.turns.is_empty() && queue.bytes == 0);
        groups
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
    fn tenants_take_turns_whoever_sent_first() {
        let (loud, quiet) = (TenantId::new(), TenantId::new());
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        for tenant in [loud, loud, loud, quiet] {
            let (waiting, answered) = request(tenant, 300, &[]);
            queue.push(waiting).unwrap();
            answers.push(answered);
        }
        let mut order = || queue.next_group().iter().map(|one| one.brought.tenant).collect();
        let groups: [Vec<TenantId>; 4] = std::array::from_fn(|_| order());
        assert_eq!(groups, [vec![loud], vec![quiet], vec![loud], vec![loud]]);
    }

    #[test]
    fn a_tenant_that_sends_faster_than_is_taken_is_told_and_others_are_taken() {
        let (loud, quiet) = (TenantId::new(), TenantId::new());
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        let mut push = |tenant| {
            let (mut waiting, answered) = request(tenant, 1, &[]);
            waiting.brought.bytes = 1024 * 1024;
            answers.push(answered);
            queue.push(waiting).map_err(|refusal| refusal.code())
        };
        assert_eq!((0..7).map(|_| push(loud)).collect::<Vec<_>>(), [Ok(()); 7]);
        assert_eq!(push(loud), Err("core.busy"));
        assert_eq!(push(quiet), Ok(()));
    }

    #[test]
    fn whoever_has_gone_away_is_left_out() {
        let tenant = TenantId::new();
        let (gone, answered) = request(tenant, 1, &["a"]);
        drop(answered);
        let (there, _answered) = request(tenant, 1, &["a"]);
        let mut queue = Queue::default();
        queue.push(gone).unwrap();
        queue.push(there).unwrap();
        assert_eq!(queue.next_group().len(), 1);
        assert!(queue.next_group().is_empty());
    }
}
