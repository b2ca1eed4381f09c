//! Keeping house: what the kernel does by itself so that nothing grows for ever and no secret key
//! stays in use for ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::app::App;
use crate::database::forget_traces;
use crate::error::Result;
use crate::stream::{Schedule, ScheduleFn};
use crate::tx::SystemTx;
use crate::{changes, claims, http, queue};

mod given_up;
mod months;
mod purge;
mod secret_keys;

pub use months::EventGap;
pub(crate) use months::make_partitions;
pub use secret_keys::UnknownKeys;
pub(crate) use secret_keys::admit as admit_keys;

/// What is done at each tick of a schedule.
#[derive(Clone, Copy)]
pub(crate) enum Tick {
    /// All there is to do.
    Whole(ScheduleFn),
    /// A batch of it. The kernel's own.
    Batch(BatchFn),
}

/// A batch of work of which there may be more than one transaction should hold.
pub(crate) type BatchFn = for<'a> fn(&'a Arc<App>, &'a mut SystemTx) -> BoxFuture<'a, Result<Left>>;

/// What a batch has left for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// There is no more to do until the next tick.
    Nothing,
    /// There may be more: the schedule is due again at once.
    More,
}

impl Left {
    /// A batch that came out full may not have been the last.
    pub(crate) fn after(done: u64, batch: i64) -> Self {
        if i64::try_from(done).is_ok_and(|done| done < batch) { Self::Nothing } else { Self::More }
    }
}

/// The kernel's own schedules.
pub(crate) fn schedules() -> [Schedule; 13] {
    let [minute, hour, day] = [60, 60 * 60, 24 * 60 * 60].map(Duration::from_secs);
    let whole = |name, every, tick| Schedule { name, every, tick: Tick::Whole(tick) };
    let batch = |name, every, tick| Schedule { name, every, tick: Tick::Batch(tick) };
    [
        whole("core.partitions", day, |tx| Box::pin(make_partitions(tx))),
        batch("core.drop_months", day, |app, tx| Box::pin(months::drop_old(app, tx))),
        whole("core.forget_changes", 10 * minute, |tx| Box::pin(changes::forget_old(tx))),
        whole("core.forget_traces", hour, |tx| Box::pin(forget_traces(tx.db()))),
        whole("core.forget_idempotency_keys", hour, |tx| {
            Box::pin(http::forget_idempotency_keys(tx))
        }),
        batch("core.forget_claims", hour, |_, tx| Box::pin(claims::forget_expired(tx))),
        batch("core.forget_dead_jobs", hour, |app, tx| Box::pin(given_up::forget_jobs(app, tx))),
        batch("core.forget_dead_events", hour, |_, tx| Box::pin(given_up::forget_events(tx))),
        whole("core.job_days", hour, |tx| Box::pin(queue::tend_days(tx))),
        whole("core.forget_nodes", day, |tx| Box::pin(queue::forget_gone_nodes(tx))),
        whole("core.forget_job_counts", day, |tx| Box::pin(queue::forget_old_counts(tx))),
        batch("core.purge_tenants", hour, |_, tx| Box::pin(purge::purge(tx))),
        batch("core.reseal", 10 * minute, |app, tx| Box::pin(secret_keys::reseal(app, tx))),
    ]
}
