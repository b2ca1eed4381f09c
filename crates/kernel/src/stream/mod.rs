//! What happens after a commit: events reach subscribers, schedules tick, nodes hear of each other. Jobs
//! are in `queue`.
//!
//! A committing node hands on in memory; NOTIFY and the look once a second are for other nodes and
//! for accidents. Nothing is lost with the memory: the rows are the truth.

mod depth;
mod dispatch;
mod outbox;
mod pulse;
mod schedule;

pub use outbox::{Interest, StoredEvent, SubscriberFn};
pub use schedule::ScheduleFn;

pub(crate) use outbox::Subscriber;
pub(crate) use pulse::{Wakers, run};
pub(crate) use schedule::Schedule;
