//! What a node is working on at the moment: whose leases it renews, and which keys and tenants have
//! as much as they may.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::job::{JobKind, JobRow, Lane};
use crate::app::App;
use crate::directory::TenantId;

/// More than are in use at once; those that nobody uses are forgotten then.
const TURNS_KEPT: usize = 4 * 1024;

/// What this node is working on.
pub(crate) struct InFlight {
    /// Free places, for each lane.
    slots: [Arc<Semaphore>; 3],
    held: Mutex<Held>,
    /// What lets no more jobs of one kind and key run at once than may.
    turns: Mutex<HashMap<(&'static str, String), Arc<Semaphore>>>,
    /// Told when the last job has ended.
    idle: Notify,
}

#[derive(Default)]
struct Held {
    /// Jobs under their claims: one that was lost and taken again may be here twice.
    jobs: HashSet<(Uuid, Uuid)>,
    /// How many there are of each kind and key.
    keys: HashMap<(String, String), usize>,
    /// How many slots of each lane each tenant has.
    tenants: HashMap<(Lane, TenantId), usize>,
}

/// The keys in flight as the columns of a statement.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) kinds: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) counts: Vec<i32>,
    /// `kind/key` of those that have as many as they may.
    pub(super) full: Vec<String>,
}

/// The tenants in flight, likewise.
#[derive(Default)]
pub(super) struct Tenants {
    pub(super) ids: Vec<Uuid>,
    pub(super) counts: Vec<i32>,
    /// Those that have as many slots as they may.
    pub(super) full: Vec<Uuid>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            slots: Lane::ALL.map(|lane| Arc::new(Semaphore::new(lane.slots()))),
            held: Mutex::default(),
            turns: Mutex::default(),
            idle: Notify::new(),
        }
    }
}

impl InFlight {
    pub(super) fn slots(&self, lane: Lane) -> &Arc<Semaphore> {
        &self.slots[lane.index()]
    }

    /// Whether another job of this tenant and key may be held.
    pub(super) fn has_room(
        &self,
        lane: Lane,
        tenant: TenantId,
        key: Option<(&JobKind, &str)>,
    ) -> bool {
        let held = self.held();
        let of_tenant = held.tenants.get(&(lane, tenant)).copied().unwrap_or_default();
        let of_key = |(kind, key): (&JobKind, &str)| {
            let name = (kind.name.to_owned(), key.to_owned());
            held.keys.get(&name).copied().unwrap_or_default() < kind.per_key
        };
        of_tenant < lane.slots_per_tenant() && key.is_none_or(of_key)
    }

    /// Where a job waits for its turn.
    pub(super) fn turn(&self, kind: &JobKind, key: &str) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= TURNS_KEPT {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        let turn = turns.entry((kind.name, key.to_owned()));
        turn.or_insert_with(|| Arc::new(Semaphore::new(kind.at_once))).clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, lane: Lane, row: &JobRow) {
        let mut held = self.held();
        held.jobs.insert((row.id, row.claim));
        *held.tenants.entry((lane, row.tenant)).or_default() += 1;
        if let Some(key) = &row.key {
            *held.keys.entry((row.kind.clone(), key.clone())).or_default() += 1;
        }
    }

    /// Answers whether its tenant or key had as much as it may, so that another one may have been
    /// waiting for this.
    pub(super) fn remove(&self, app: &App, lane: Lane, row: &JobRow) -> bool {
        let mut held = self.held();
        held.jobs.remove(&(row.id, row.claim));
        let had = one_less(&mut held.tenants, (lane, row.tenant));
        let mut was_full = had >= lane.slots_per_tenant();
        if let Some(key) = &row.key {
            let had = one_less(&mut held.keys, (row.kind.clone(), key.clone()));
            was_full |= app.job_kind(&row.kind).is_some_and(|kind| had >= kind.per_key);
        }
        if held.jobs.is_empty() {
            self.idle.notify_waiters();
        }
        was_full
    }

    pub(super) fn jobs(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        self.held().jobs.iter().copied().unzip()
    }

    pub(super) fn keys(&self, app: &App) -> Keys {
        let mut keys = Keys::default();
        for ((kind, key), count) in &self.held().keys {
            if app.job_kind(kind).is_none_or(|kind| *count >= kind.per_key) {
                keys.full.push(format!("{kind}/{key}"));
            }
            keys.kinds.push(kind.clone());
            keys.keys.push(key.clone());
            keys.counts.push(i32::try_from(*count).unwrap_or(i32::MAX));
        }
        keys
    }

    pub(super) fn tenants(&self, lane: Lane) -> Tenants {
        let mut tenants = Tenants::default();
        for ((_, tenant), count) in self.held().tenants.iter().filter(|((of, _), _)| *of == lane) {
            if *count >= lane.slots_per_tenant() {
                tenants.full.push(**tenant);
            }
            tenants.ids.push(**tenant);
            tenants.counts.push(i32::try_from(*count).unwrap_or(i32::MAX));
        }
        tenants
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

/// Answers how many there were.
fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, name: K) -> usize {
    let Entry::Occupied(mut entry) = counts.entry(name) else { return 0 };
    let had = *entry.get();
    if had == 1 {
        entry.remove();
    } else {
        *entry.get_mut() -= 1;
    }
    had
}
