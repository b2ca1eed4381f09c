//! What a node is working on at the moment: whose leases it renews, and which keys are full.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::job::JobRow;
use crate::app::App;

/// What this node is working on.
#[derive(Default)]
pub(crate) struct InFlight {
    held: Mutex<Held>,
    /// Told when the last job has ended.
    idle: Notify,
}

#[derive(Default)]
struct Held {
    /// Jobs under their claims: one that was lost and taken again may be here twice.
    jobs: HashSet<(Uuid, Uuid)>,
    /// How many there are of each kind and key.
    keys: HashMap<(String, String), usize>,
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

impl InFlight {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, row: &JobRow) {
        let mut held = self.held();
        held.jobs.insert((row.id, row.claim));
        if let Some(key) = &row.key {
            *held.keys.entry((row.kind.clone(), key.clone())).or_default() += 1;
        }
    }

    pub(super) fn remove(&self, row: &JobRow) {
        let mut held = self.held();
        held.jobs.remove(&(row.id, row.claim));
        if let Some(key) = &row.key {
            let name = (row.kind.clone(), key.clone());
            if let Some(count) = held.keys.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    held.keys.remove(&name);
                }
            }
        }
        if held.jobs.is_empty() {
            self.idle.notify_waiters();
        }
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
