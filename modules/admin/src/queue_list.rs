//! The list of queues: lanes and kinds with what is counted in each, put together from what the
//! release and the database know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freehold_kernel::{JobKind, JobsWaiting};
use serde::Serialize;
use utoipa::ToSchema;

use crate::counts::Ends;
use crate::job::{LANES, lane_name};
use crate::queues::{Pause, Queue};

/// A queue and how much is in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::CountedQueue)]
pub(crate) struct CountedQueue {
    #[serde(flatten)]
    pub(crate) queue: Queue,
    /// Jobs that may run and wait for a place.
    #[schema(example = 120)]
    pub(crate) waiting: i64,
    /// Jobs that run.
    #[schema(example = 16)]
    pub(crate) active: i64,
    /// Jobs that wait for their time: asked for later, or tried again later.
    #[schema(example = 3)]
    pub(crate) delayed: i64,
    /// Jobs that were done in the last 24 hours.
    #[schema(example = 48_211)]
    pub(crate) completed: i64,
    /// Jobs that were given up or cancelled in the last 7 days.
    #[schema(example = 12)]
    pub(crate) failed: i64,
    /// Of those that lie there, how many of the last 7 days were given up because node after node died
    /// on them.
    #[schema(example = 0)]
    pub(crate) stalled: i64,
    /// For how long the oldest of those that wait may have run. Null: none waits.
    #[schema(example = 4)]
    pub(crate) oldest_seconds: Option<u64>,
}

/// Everything that the list is made of.
pub(crate) struct Facts {
    pub(crate) lanes: [(&'static str, usize); 3],
    pub(crate) kinds: Vec<JobKind>,
    pub(crate) backlog: Vec<JobsWaiting>,
    pub(crate) ends: Vec<Ends>,
    pub(crate) paused: BTreeMap<String, Pause>,
}

impl Facts {
    /// Each lane and its kinds, then the kinds whose lane nobody knows. Kinds that only the database
    /// knows, as during an update, are in the lane where jobs of theirs are.
    pub(crate) fn list(&self) -> Vec<CountedQueue> {
        let mut kinds: BTreeSet<&str> = self.kinds.iter().map(|kind| kind.name).collect();
        kinds.extend(self.backlog.iter().map(|row| row.kind.as_str()));
        kinds.extend(self.ends.iter().map(|row| row.kind.as_str()));
        let queues = self.paused.keys().map(String::as_str);
        kinds.extend(queues.filter(|name| !LANES.contains(name) && !name.contains('/')));
        let of_kinds: Vec<CountedQueue> = kinds.into_iter().map(|kind| self.kind(kind)).collect();
        let mut list = Vec::new();
        for (lane, places) in self.lanes {
            let own = of_kinds.iter().filter(|one| one.queue.lane.as_deref() == Some(lane));
            list.push(self.lane(lane, places, own));
        }
        list.extend(of_kinds);
        let place =
            |one: &CountedQueue| LANES.iter().position(|n| Some(*n) == one.queue.lane.as_deref());
        // Stable: a lane stays before its kinds, and those in their order.
        list.sort_by_key(|one| place(one).unwrap_or(LANES.len()));
        list
    }

    fn lane<'a>(
        &self,
        lane: &str,
        places: usize,
        kinds: impl Iterator<Item = &'a CountedQueue>,
    ) -> CountedQueue {
        let queue = Queue {
            name: lane.to_owned(),
            lane: Some(lane.to_owned()),
            kind: None,
            limit: Some(places),
            paused: self.paused.get(lane).cloned(),
        };
        let ended = kinds.map(|one| [one.completed, one.failed, one.stalled]);
        let ended =
            ended.fold([0; 3], |sum, one| [sum[0] + one[0], sum[1] + one[1], sum[2] + one[2]]);
        self.counted(queue, |row| lane_name(row.lane) == lane, ended)
    }

    fn kind(&self, kind: &str) -> CountedQueue {
        let known = self.kinds.iter().find(|one| one.name == kind);
        let seen = self.backlog.iter().find(|row| row.kind == kind);
        let lane = known.map(|one| one.lane).or_else(|| seen.map(|row| lane_name(row.lane)));
        let queue = Queue {
            name: kind.to_owned(),
            lane: lane.map(ToOwned::to_owned),
            kind: Some(kind.to_owned()),
            limit: known.map(|one| one.per_key),
            paused: self.paused.get(kind).cloned(),
        };
        let ended = self.ends.iter().find(|row| row.kind == kind);
        let ended = ended.map_or([0; 3], |row| [row.completed, row.failed, row.stalled]);
        self.counted(queue, |row| row.kind == kind, ended)
    }

    fn counted(
        &self,
        queue: Queue,
        is_in: impl Fn(&JobsWaiting) -> bool,
        [completed, failed, stalled]: [i64; 3],
    ) -> CountedQueue {
        let rows: Vec<&JobsWaiting> = self.backlog.iter().filter(|row| is_in(row)).collect();
        let count = |state: &str| {
            rows.iter().filter(|row| row.state == state).map(|row| row.count).sum::<i64>()
        };
        let oldest = rows.iter().filter_map(|row| row.oldest_seconds).reduce(f64::max);
        let whole = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
        CountedQueue {
            queue,
            waiting: count("waiting"),
            active: count("active"),
            delayed: count("delayed"),
            completed,
            failed,
            stalled,
            oldest_seconds: oldest.map(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn backlog()(
            lane in 0_i16..3,
            kind in prop::sample::select(&["known.a", "known.b", "other.c", "other.d"][..]),
            state in prop::sample::select(&["waiting", "delayed", "active"][..]),
            count in 1_i64..100,
            age in 0_u32..1_000,
        ) -> JobsWaiting {
            let oldest_seconds = (state == "waiting").then(|| f64::from(age) + 0.5);
            let (kind, state) = (kind.to_owned(), state.to_owned());
            JobsWaiting { lane, kind, state, count, oldest_seconds }
        }
    }

    fn facts(backlog: Vec<JobsWaiting>) -> Facts {
        let lanes = [("transactional", 4), ("standard", 8), ("bulk", 2)];
        let kind = |name, lane| JobKind { name, lane, per_key: 3 };
        let kinds = vec![kind("known.a", "standard"), kind("known.b", "bulk")];
        Facts { lanes, kinds, backlog, ends: Vec::new(), paused: BTreeMap::new() }
    }

    proptest! {
        #[test]
        fn every_job_is_counted_once_in_its_lane_and_once_in_its_kind(
            rows in prop::collection::vec(backlog(), 0..40),
        ) {
            let all = |state: &str| -> i64 {
                rows.iter().filter(|row| row.state == state).map(|row| row.count).sum()
            };
            let expected = [all("waiting"), all("delayed"), all("active")];
            let oldest = rows.iter().filter_map(|row| row.oldest_seconds).reduce(f64::max);
            let list = facts(rows).list();
            for is_lane in [true, false] {
                let some: Vec<_> =
                    list.iter().filter(|one| one.queue.kind.is_none() == is_lane).collect();
                let sum = |count: fn(&CountedQueue) -> i64| some.iter().map(|one| count(one)).sum::<i64>();
                let counted = [sum(|one| one.waiting), sum(|one| one.delayed), sum(|one| one.active)];
                prop_assert_eq!(counted, expected);
                let found = some.iter().filter_map(|one| one.oldest_seconds).max();
                prop_assert_eq!(found.map(|whole| whole as f64 + 0.5), oldest);
            }
            let names: BTreeSet<&str> = list.iter().map(|one| one.queue.name.as_str()).collect();
            prop_assert_eq!(names.len(), list.len());
            // Kinds stand after their lane.
            for (place, one) in list.iter().enumerate().filter(|(_, one)| one.queue.kind.is_some()) {
                let lane = one.queue.lane.as_deref().unwrap();
                prop_assert!(list[..place].iter().any(|before| before.queue.name == lane));
            }
        }
    }
}
