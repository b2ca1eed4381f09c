//! What happens after a commit: events reach subscribers, jobs reach workers, schedules tick.
//!
//! A committing node hands on in memory; NOTIFY and the look once a second are for other nodes and
//! for accidents. Nothing is lost with the memory: the rows are the truth.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::error::{Error, Result};

mod batch;
mod claim;
mod dispatch;
mod in_flight;
pub(crate) mod job;
mod outbox;
mod pulse;
mod schedule;
mod worker;

pub use batch::{Claimed, RunBatch, Settlement};
pub use job::{Job, JobCx, Lane, RunJob};
pub use outbox::{Interest, StoredEvent, SubscriberFn};
pub use schedule::ScheduleFn;

pub(crate) use claim::hand_back;
pub(crate) use in_flight::InFlight;
pub(crate) use job::{JobKind, NewJob};
pub(crate) use outbox::Subscriber;
pub(crate) use pulse::{Wakers, run};
pub(crate) use schedule::Schedule;
pub(crate) use worker::HandOver;

/// Runs what a module wrote. A panic in it is its failure and stops nothing else.
async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::internal(format!("panicked: {}", words.unwrap_or_default())))
    })
}
