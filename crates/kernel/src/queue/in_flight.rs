//! What a node is working on at the moment: which places are taken, and which keys and tenants have
//! as much as they may.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::job::{JobKind, JobRow, Lane};
use crate::config::Lanes;
use crate::directory::TenantId;

/// A node that cannot write down what it has done takes no more than this many times its places.
const UNSETTLED_MAX: usize = 4;
/// How long, and how many, cancelled jobs are remembered.
const CANCELLED_KEPT: Duration = Duration::from_secs(10);
const CANCELLED_MAX: usize = 1_000;

/// What this node is working on.
pub(crate) struct InFlight {
    places: [usize; 3],
    held: Mutex<Held>,
    /// Told when the last job has ended.
    idle: Notify,
}

#[derive(Default)]
struct Held {
    /// Jobs under their claims, until they are settled, and what ends them early. One that was lost
    /// and taken again may be here twice.
    jobs: HashMap<(Uuid, Uuid), Arc<Notify>>,
    /// Jobs that were cancelled a moment ago: one of them may just have been claimed.
    cancelled: VecDeque<(Uuid, Instant)>,
    /// Places that are taken in each lane; a job gives its place back when its run ends.
    places: [usize; 3],
    unsettled: [usize; 3],
    /// Of these, how many each queue with a key has.
    queues: HashMap<Arc<str>, usize>,
    /// And each tenant in each lane.
    tenants: HashMap<(Lane, TenantId), usize>,
}

impl InFlight {
    pub(super) fn new(lanes: &Lanes) -> Self {
        Self { places: lanes.places(), held: Mutex::default(), idle: Notify::new() }
    }

    /// How many jobs this node may begin now.
    pub(super) fn free(&self, lane: Lane) -> usize {
        let (held, at) = (self.held(), lane.index());
        let unsettled = (UNSETTLED_MAX * self.places[at]).saturating_sub(held.unsettled[at]);
        self.places[at].saturating_sub(held.places[at]).min(unsettled)
    }

    /// Whether most places are taken.
    pub(super) fn is_nearly_full(&self, lane: Lane) -> bool {
        self.free(lane) < self.places[lane.index()] / 2
    }

    /// How many more jobs of this tenant (and queue) may be held, and how many of the tenant's are. A
    /// tenant has a quarter of a lane, so that none stops the others.
    pub(super) fn room(
        &self,
        lane: Lane,
        tenant: TenantId,
        keyed: Option<(&JobKind, &str)>,
    ) -> (usize, usize) {
        let held = self.held();
        let of_tenant = held.tenants.get(&(lane, tenant)).copied().unwrap_or_default();
        let of_queue = keyed.map_or(usize::MAX, |(kind, queue)| {
            kind.per_key.saturating_sub(held.queues.get(queue).copied().unwrap_or_default())
        });
        let most = (self.places[lane.index()] / 4).max(1);
        (most.saturating_sub(of_tenant).min(of_queue), of_tenant)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. Answers with what ends the job early.
    pub(super) fn add(&self, lane: Lane, row: &JobRow) -> Arc<Notify> {
        let (mut held, cancel) = (self.held(), Arc::new(Notify::new()));
        if held.cancelled.iter().any(|(job, _)| *job == row.id) {
            cancel.notify_one();
        }
        held.jobs.insert((row.id, row.claim), cancel.clone());
        held.places[lane.index()] += 1;
        held.unsettled[lane.index()] += 1;
        *held.tenants.entry((lane, row.tenant)).or_default() += 1;
        if row.is_keyed() {
            *held.queues.entry(row.queue.clone()).or_default() += 1;
        }
        cancel
    }

    /// Gives the place back. The job is this node's until it is settled.
    pub(super) fn ended_running(&self, lane: Lane, row: &JobRow) {
        let mut held = self.held();
        held.places[lane.index()] -= 1;
        one_less(&mut held.tenants, (lane, row.tenant));
        if row.is_keyed() {
            one_less(&mut held.queues, row.queue.clone());
        }
    }

    /// The job is this node's no longer.
    pub(super) fn remove(&self, lane: Lane, row: &JobRow) {
        let mut held = self.held();
        held.unsettled[lane.index()] -= 1;
        held.jobs.remove(&(row.id, row.claim));
        if held.jobs.is_empty() {
            self.idle.notify_waiters();
        }
    }

    pub(super) fn jobs(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        self.held().jobs.keys().copied().unzip()
    }

    /// Ends a job early, if it is here.
    pub(super) fn cancel(&self, job: Uuid) {
        let mut held = self.held();
        held.jobs.iter().filter(|((id, _), _)| *id == job).for_each(|(_, one)| one.notify_one());
        held.cancelled.push_back((job, Instant::now()));
        let over = |(_, at): &(Uuid, Instant)| at.elapsed() > CANCELLED_KEPT;
        while held.cancelled.len() > CANCELLED_MAX || held.cancelled.front().is_some_and(over) {
            held.cancelled.pop_front();
        }
    }

    /// Whether a job of any of these queues is held.
    pub(super) fn has_any(&self, of: impl Fn(&str) -> bool) -> bool {
        self.held().queues.keys().any(|queue| of(queue))
    }

    /// Waits until this node works on nothing.
    pub(crate) async fn ended(&self) {
        loop {
            let idle = self.idle.notified();
            if self.held().jobs.is_empty() {
                return;
            }
            idle.await;
        }
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, name: K) {
    let Entry::Occupied(mut entry) = counts.entry(name) else { return };
    if *entry.get() == 1 {
        entry.remove();
    } else {
        *entry.get_mut() -= 1;
    }
}
