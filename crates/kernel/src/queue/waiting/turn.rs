//! One tenant's part of a choice.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{QueueId, Room};
use crate::directory::TenantId;

/// A tenant's queues, while jobs are chosen.
pub(super) struct Turn<'a> {
    room: usize,
    pub(super) in_flight: u32,
    /// What goes first is smaller: priority, taken so far, when last chosen, place in `queues`.
    next: BinaryHeap<Reverse<(i16, usize, u64, usize)>>,
    queues: Vec<Candidate<'a>>,
}

struct Candidate<'a> {
    queue: &'a QueueId,
    room: usize,
    taken: usize,
}

impl<'a> Turn<'a> {
    pub(super) fn new(room: &impl Room, tenant: TenantId) -> Self {
        let (room, in_flight) = room.of_tenant(tenant);
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        Self { room, in_flight, next: BinaryHeap::new(), queues: Vec::new() }
    }

    pub(super) fn add(&mut self, queue: &'a QueueId, (priority, chosen): (i16, u64), room: usize) {
        self.next.push(Reverse((priority, 0, chosen, self.queues.len())));
        self.queues.push(Candidate { queue, room, taken: 0 });
    }

    /// One more from the queue whose turn it is; `false` when all have as much as they may.
    pub(super) fn take(&mut self) -> bool {
        if self.room == 0 {
            return false;
        }
        let Some(Reverse((priority, _, chosen, at))) = self.next.pop() else { return false };
        let one = &mut self.queues[at];
        one.taken += 1;
        self.room -= 1;
        if one.taken < one.room {
            self.next.push(Reverse((priority, one.taken, chosen, at)));
        }
        true
    }

    pub(super) fn taken(self) -> impl Iterator<Item = (QueueId, usize)> {
        let some = self.queues.into_iter().filter(|one| one.taken > 0);
        some.map(|one| (one.queue.clone(), one.taken))
    }
}
