//! What waits in the database, as far as this node knows: which queues have jobs, from where on to
//! look for them, and whose turn it is.
//!
//! A queue here is the jobs of one tenant, kind (and key) and priority. The rows are the truth; this
//! is how they are found without walking past those of others.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turn::Turn;
use uuid::Uuid;

use super::enqueue::NewJob;
use crate::directory::TenantId;
use crate::time::Timestamp;

mod turn;

/// Jobs that commit at the same time become visible in another order than that of their `run_at`.
/// What is later than this is found by the next sweep.
const OVERLAP: Duration = Duration::from_millis(20);
/// A queue that has waited for so long goes with the next higher priority.
const AGEING: Duration = Duration::from_secs(30);
/// No more queues than this are remembered; those that have no jobs are forgotten at half of it.
const KNOWN_MAX: usize = 20_000;
/// A sweep costs at most this share of the time.
const SWEEP_SHARE: u32 = 20;
/// But it is done, however slow the machine.
const SWEEP_AT_LEAST_EVERY: Duration = Duration::from_mins(5);

/// The jobs of one tenant, kind (and key) and priority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct QueueId {
    pub(super) tenant: TenantId,
    /// The kind, or the kind and the key.
    pub(super) name: Arc<str>,
    pub(super) priority: i16,
}

impl QueueId {
    pub(super) fn of(job: &NewJob) -> Self {
        Self { tenant: job.tenant, name: job.queue.clone(), priority: job.priority }
    }

    /// Whether it has a key, and with it limits.
    pub(super) fn is_keyed(&self) -> bool {
        self.name.contains('/')
    }

    pub(super) fn kind(&self) -> &str {
        self.name.split_once('/').map_or(&*self.name, |(kind, _)| kind)
    }
}

/// So many jobs are to be claimed from a queue, none older than `since`.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) queue: QueueId,
    pub(super) since: Option<Timestamp>,
    pub(super) count: usize,
    /// What had been noted of the queue until then.
    noted: u64,
}

/// What waits in one lane.
#[derive(Default)]
pub(super) struct Waiting {
    queues: HashMap<QueueId, Known>,
    /// Of whom, and how urgent, something waited when the last choice was made or has been noted since.
    seen: HashSet<(TenantId, i16)>,
    /// Worker time that each tenant has used.
    tenants: HashMap<TenantId, Duration>,
    /// What the tenant with the least had used when the last choice was made: a tenant that comes
    /// (again) begins there, with no credit for the time it was away.
    least: Duration,
    /// How long a job takes.
    average: Duration,
    /// Counts choices.
    choice: u64,
    sweep: Sweep,
}

/// How many more jobs may be held.
pub(super) trait Room {
    /// Of this queue.
    fn of_queue(&self, queue: &QueueId) -> usize;
    /// Of this tenant, and how many are.
    fn of_tenant(&self, tenant: TenantId) -> (usize, usize);
}

struct Known {
    /// Whether there may be more than was claimed.
    more: bool,
    /// How often somebody said that there is something.
    noted: u64,
    /// Where the last claim ended.
    since: Option<Timestamp>,
    /// The same, when the last sweep began.
    swept_since: Option<Timestamp>,
    /// What came behind claims while one is under way.
    behind: Option<Timestamp>,
    /// The choice that it was part of last, so that a tenant's queues take turns.
    chosen: u64,
    waits_since: Instant,
}

/// When to ask the database for all queues.
#[derive(Default)]
struct Sweep {
    asked: bool,
    running: bool,
    not_before: Option<Instant>,
    /// Where the last one ended, if there was more.
    after: Option<QueueId>,
}

impl Waiting {
    /// There is a job in this queue, or may be. More queues than are remembered are found later.
    pub(super) fn note(&mut self, queue: QueueId) {
        if self.queues.len() >= KNOWN_MAX && !self.queues.contains_key(&queue) {
            return;
        }
        let (of, chosen, now) = ((queue.tenant, queue.priority), self.choice, Instant::now());
        let known = self.queues.entry(queue).or_insert_with(|| Known {
            more: false,
            noted: 0,
            since: None,
            swept_since: None,
            behind: None,
            chosen,
            waits_since: now,
        });
        known.noted += 1;
        self.seen.insert(of);
        if !known.more {
            known.more = true;
            known.waits_since = now;
        }
    }

    /// There is a job in this queue that was written so long ago and is committed only now. Claims may
    /// be past it.
    pub(super) fn note_late(&mut self, queue: QueueId, late: Duration) {
        if late > OVERLAP
            && let Some(known) = self.queues.get_mut(&queue)
            && let Some(since) = known.since
        {
            known.go_back_to(since - late);
        }
        self.note(queue);
    }

    /// The oldest job in a queue among those that came lately.
    pub(super) fn came(&mut self, queue: QueueId, oldest: Timestamp) {
        if let Some(known) = self.queues.get_mut(&queue) {
            known.go_back_to(oldest);
        }
        self.note(queue);
    }

    /// The oldest job in a queue, as a sweep found it. If claims were already past it when the sweep
    /// began, they go back to it; if not, it has been their turn since, and they go on where they are.
    fn found(&mut self, queue: &QueueId, oldest: Timestamp) {
        self.note(queue.clone());
        if let Some(known) = self.queues.get_mut(queue)
            && known.swept_since.is_none_or(|since| oldest < since - OVERLAP)
        {
            known.go_back_to(oldest);
            // Before it there is nothing: the first claim need not look there.
            known.since = known.since.or(known.behind);
        }
    }

    /// Whether jobs wait that go before a new one of this queue: its own, or the tenant's of a higher
    /// priority.
    pub(super) fn comes_before(&self, queue: &QueueId) -> bool {
        let higher =
            (0..queue.priority).any(|priority| self.seen.contains(&(queue.tenant, priority)));
        self.has(queue) || higher
    }

    fn has(&self, queue: &QueueId) -> bool {
        self.queues.get(queue).is_some_and(|known| known.more)
    }

    /// All queues should be looked for.
    pub(super) fn ask_to_sweep(&mut self) {
        self.sweep.asked = true;
    }

    /// Where to begin to look for queues now, if that is to be done. Then [`Waiting::swept`] has to
    /// follow. Queues that have nothing, or that this node may not take from, are forgotten when they
    /// are many.
    pub(super) fn begin_sweep(
        &mut self,
        may_take: impl Fn(&QueueId) -> bool,
    ) -> Option<Option<QueueId>> {
        let may = self.sweep.not_before.is_none_or(|at| at <= Instant::now());
        if !may || self.sweep.running || !std::mem::take(&mut self.sweep.asked) {
            return None;
        }
        self.sweep.running = true;
        if self.queues.len() >= KNOWN_MAX / 2 {
            self.queues.retain(|queue, known| known.more && may_take(queue));
        }
        self.queues.values_mut().for_each(|known| known.swept_since = known.since);
        Some(self.sweep.after.take())
    }

    /// What a sweep found, which took so long, and whether there are more after that. While a snapshot
    /// is held somewhere, a sweep walks past all that was done since; it must not take the time that
    /// jobs need.
    pub(super) fn swept(&mut self, found: &[(QueueId, Timestamp)], more: bool, took: Duration) {
        self.sweep.running = false;
        let rest = (took * SWEEP_SHARE).min(SWEEP_AT_LEAST_EVERY);
        self.sweep.not_before = Some(Instant::now() + rest);
        if more {
            self.sweep.after = found.last().map(|(queue, _)| queue.clone());
        }
        found.iter().for_each(|(queue, oldest)| self.found(queue, *oldest));
    }

    /// A run of one of this tenant's jobs took so long.
    pub(super) fn used(&mut self, tenant: TenantId, time: Duration) {
        let least = self.least;
        let used = self.tenants.entry(tenant).or_default();
        *used = (*used).max(least) + time;
        self.average = (self.average * 7 + time) / 8;
    }

    /// Chooses up to `count` jobs: always the next of the tenant that has used the least time so
    /// far, each job in flight counted as what one takes, and in turn among that tenant's queues.
    pub(super) fn choose(&mut self, count: usize, room: &impl Room) -> Vec<Share> {
        let each = self.average.max(Duration::from_nanos(1));
        self.choice += 1;
        let mut tenants: HashMap<TenantId, Turn<'_>> = HashMap::new();
        self.seen.clear();
        for (queue, known) in self.queues.iter().filter(|(_, known)| known.more) {
            self.seen.insert((queue.tenant, queue.priority));
            let left = room.of_queue(queue);
            if left > 0 {
                let turn =
                    tenants.entry(queue.tenant).or_insert_with(|| Turn::new(room, queue.tenant));
                turn.add(queue, known.order(queue.priority), left);
            }
        }
        let base = |tenant: &TenantId| {
            self.tenants.get(tenant).copied().unwrap_or_default().max(self.least)
        };
        let least = tenants.keys().map(base).min();
        let mut next: BinaryHeap<Reverse<(Duration, Uuid)>> = tenants
            .iter()
            .map(|(tenant, turn)| Reverse((base(tenant) + each * turn.in_flight, **tenant)))
            .collect();
        let mut left = count;
        while left > 0
            && let Some(Reverse((used, tenant))) = next.pop()
        {
            if tenants.get_mut(&TenantId::from_uuid(tenant)).is_some_and(Turn::take) {
                left -= 1;
                next.push(Reverse((used + each, tenant)));
            }
        }
        let taken: Vec<(QueueId, usize)> = tenants.into_values().flat_map(Turn::taken).collect();
        self.least = self.least.max(least.unwrap_or_default());
        self.forget_idle();
        taken.into_iter().map(|(queue, count)| self.share(queue, count)).collect()
    }

    fn share(&mut self, queue: QueueId, count: usize) -> Share {
        let (mut since, mut noted) = (None, 0);
        if let Some(known) = self.queues.get_mut(&queue) {
            known.chosen = self.choice;
            since = known.since.map(|since| since - OVERLAP);
            known.behind = None;
            noted = known.noted;
        }
        Share { queue, since, count, noted }
    }

    /// What came of a share: the jobs' times, in any order.
    pub(super) fn claimed(&mut self, share: &Share, times: &[Timestamp]) {
        let Some(known) = self.queues.get_mut(&share.queue) else { return };
        // What was noted meanwhile may have committed after the claim had looked.
        known.more = times.len() >= share.count || known.noted != share.noted;
        known.waits_since = Instant::now();
        known.since = times.iter().copied().chain(known.since).max();
        if let Some(behind) = known.behind.take() {
            known.go_back_to(behind);
        }
    }

    /// Those that are not ahead of anybody need not be remembered.
    fn forget_idle(&mut self) {
        let least = self.least;
        if self.tenants.len() > KNOWN_MAX {
            self.tenants.retain(|_, used| *used > least);
        }
    }
}

impl Known {
    /// The next claim begins here, if it would begin later; so does the one after a claim that is
    /// under way. A queue that nothing was claimed from yet is read from its beginning.
    fn go_back_to(&mut self, at: Timestamp) {
        self.since = self.since.map(|since| since.min(at));
        self.behind = Some(self.behind.map_or(at, |behind| behind.min(at)));
    }

    /// What goes first is smaller.
    fn order(&self, priority: i16) -> (i16, u64) {
        let aged = self.waits_since.elapsed().as_secs() / AGEING.as_secs();
        (priority.saturating_sub(i16::try_from(aged).unwrap_or(i16::MAX)), self.chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// So many of each queue and of each tenant, none in flight.
    struct Plenty(usize, usize);

    impl Room for Plenty {
        fn of_queue(&self, _: &QueueId) -> usize {
            self.0
        }

        fn of_tenant(&self, _: TenantId) -> (usize, usize) {
            (self.1, 0)
        }
    }

    fn tenant(number: u128) -> TenantId {
        TenantId::from_uuid(Uuid::from_u128(number))
    }

    fn queue(of: u128, name: &str, priority: i16) -> QueueId {
        QueueId { tenant: tenant(of), name: name.into(), priority }
    }

    fn counts(shares: &[Share]) -> Vec<(QueueId, usize)> {
        let mut counts: Vec<_> =
            shares.iter().map(|share| (share.queue.clone(), share.count)).collect();
        counts.sort_by_key(|(queue, _)| (*queue.tenant, queue.name.clone(), queue.priority));
        counts
    }

    #[test]
    fn tenants_get_the_same_worker_time_and_not_the_same_number_of_jobs() {
        let mut waiting = Waiting::default();
        let (slow, quick) = (queue(1, "a.slow", 1), queue(2, "a.quick", 1));
        let mut ran = HashMap::<TenantId, u32>::new();
        for _ in 0..1_000 {
            waiting.note(slow.clone());
            waiting.note(quick.clone());
            for share in waiting.choose(1, &Plenty(100, 100)) {
                let cost = if share.queue == slow { 9 * MS } else { MS };
                waiting.used(share.queue.tenant, cost);
                *ran.entry(share.queue.tenant).or_default() += 1;
            }
        }
        let (slow, quick) = (ran[&tenant(1)], ran[&tenant(2)]);
        assert!((90..=110).contains(&slow) && slow + quick == 1_000, "{slow} and {quick}");
    }

    #[test]
    fn a_tenant_that_was_away_has_no_credit_for_it() {
        let mut waiting = Waiting::default();
        let (busy, late) = (queue(1, "a.b", 1), queue(2, "a.b", 1));
        for _ in 0..100 {
            waiting.note(busy.clone());
            waiting.choose(1, &Plenty(100, 100));
            waiting.used(busy.tenant, 100 * MS);
        }
        let mut ran = 0;
        for _ in 0..100 {
            waiting.note(busy.clone());
            waiting.note(late.clone());
            let share = waiting.choose(1, &Plenty(100, 100)).remove(0);
            waiting.used(share.queue.tenant, 100 * MS);
            ran += usize::from(share.queue == late);
        }
        assert!((49..=52).contains(&ran), "{ran} of 100");
    }

    #[test]
    fn a_full_tenant_and_a_full_queue_leave_the_rest_to_others() {
        let mut waiting = Waiting::default();
        for name in ["a.b/1", "a.b/2"] {
            waiting.note(queue(1, name, 1));
        }
        waiting.note(queue(2, "a.b/3", 1));
        let chosen = waiting.choose(100, &Plenty(10, 15));
        let chosen = counts(&chosen);
        let total = |of: u128| -> usize {
            chosen.iter().filter(|(queue, _)| queue.tenant == tenant(of)).map(|(_, n)| n).sum()
        };
        assert_eq!((total(1), total(2)), (15, 10), "{chosen:?}");
        assert!(chosen.iter().all(|(_, count)| (7..=10).contains(count)), "{chosen:?}");
    }

    #[test]
    fn a_higher_priority_goes_first_and_one_queue_does_not_hide_another() {
        let mut waiting = Waiting::default();
        waiting.note(queue(1, "a.low", 2));
        waiting.note(queue(1, "a.high", 0));
        waiting.note(queue(1, "a.high-too", 0));
        let chosen = counts(&waiting.choose(10, &Plenty(6, 100)));
        assert_eq!(
            chosen,
            [(queue(1, "a.high", 0), 5), (queue(1, "a.high-too", 0), 5)],
            "the lower one waits"
        );
    }

    #[test]
    fn a_queue_that_gave_less_than_was_asked_for_is_left_alone_until_something_comes() {
        let mut waiting = Waiting::default();
        let one = queue(1, "a.b", 1);
        waiting.note(one.clone());
        let share = waiting.choose(4, &Plenty(4, 4)).remove(0);
        assert_eq!((share.count, share.since), (4, None));
        let at = Timestamp::from_unix_ms(1_000).unwrap();
        waiting.note(one.clone());
        waiting.claimed(&share, &[at, at - MS]);
        assert!(waiting.has(&one), "something came while the claim was under way");
        let share = waiting.choose(4, &Plenty(4, 4)).remove(0);
        waiting.claimed(&share, &[]);
        assert!(!waiting.has(&one) && waiting.choose(4, &Plenty(4, 4)).is_empty());
        waiting.note(one.clone());
        let share = waiting.choose(4, &Plenty(4, 4)).remove(0);
        assert_eq!(share.since, Some(at - OVERLAP), "from where the last claim ended");
        waiting.found(&one, at - 900 * MS);
        waiting.claimed(&share, &[at]);
        let share = waiting.choose(4, &Plenty(4, 4)).remove(0);
        assert_eq!(share.since, Some(at - 900 * MS - OVERLAP), "what came late is found");
        waiting.note_late(one.clone(), 200 * MS);
        waiting.claimed(&share, &[at + 500 * MS]);
        let share = waiting.choose(4, &Plenty(4, 4)).remove(0);
        let back = at - 1_100 * MS - OVERLAP;
        assert_eq!(
            share.since,
            Some(back),
            "and what was long in coming while others were claimed"
        );
        waiting.claimed(&share, &[at, at + 500 * MS]);
        waiting.note(one.clone());
        let share = waiting.choose(4, &Plenty(4, 4)).remove(0);
        assert_eq!(share.since, Some(at + 500 * MS - OVERLAP), "once");
    }

    #[test]
    fn claims_go_back_for_what_a_sweep_found_behind_them_and_for_nothing_else() {
        let mut waiting = Waiting::default();
        let (one, at) = (queue(1, "a.b", 1), Timestamp::from_unix_ms(60_000).unwrap());
        let since = |waiting: &mut Waiting| waiting.choose(1, &Plenty(1, 1)).remove(0).since;
        let claim = |waiting: &mut Waiting, at| {
            let share = waiting.choose(1, &Plenty(1, 1)).remove(0);
            waiting.claimed(&share, &[at]);
        };
        let sweep = |waiting: &mut Waiting| {
            waiting.ask_to_sweep();
            waiting.sweep.not_before = None;
            waiting.begin_sweep(|_| true).unwrap();
        };
        waiting.note(one.clone());
        claim(&mut waiting, at);
        sweep(&mut waiting);
        claim(&mut waiting, at + 9_000 * MS);
        waiting.swept(&[(one.clone(), at + 5 * MS)], false, 9_000 * MS);
        assert_eq!(since(&mut waiting), Some(at + 9_000 * MS - OVERLAP), "its turn came meanwhile");
        sweep(&mut waiting);
        waiting.swept(&[(one.clone(), at)], false, MS);
        assert_eq!(since(&mut waiting), Some(at - OVERLAP), "it had been passed by");
    }

    #[test]
    fn sweeps_wait_for_twenty_times_as_long_as_they_take() {
        let mut waiting = Waiting::default();
        assert!(waiting.begin_sweep(|_| true).is_none(), "nobody asked");
        waiting.ask_to_sweep();
        assert!(waiting.begin_sweep(|_| true).is_some());
        waiting.swept(&[], false, Duration::from_secs(60));
        waiting.ask_to_sweep();
        assert!(waiting.begin_sweep(|_| true).is_none());
    }
}
