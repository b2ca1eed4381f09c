//! The job queue: work that is asked for in a transaction and done after it commits.
//!
//! The rows of `core.jobs` are the truth, and a row says who holds it. What this folder keeps in memory
//! is for speed and fairness: where jobs wait ([`waiting`]), whose turn it is, how many of each key run
//! ([`turns`]). One node hands out the jobs of a key ([`node`]), so that what holds in its memory holds
//! everywhere. docs/adr/0012 says why it is so.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

use crate::app::App;
use crate::changes::Change;
use crate::config::Lanes;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::metrics::{JobEnd, job_ended};

mod arrivals;
mod backlog;
mod batch;
mod cancel;
mod claim;
mod counts;
mod days;
mod enqueue;
mod in_flight;
pub(crate) mod job;
mod node;
mod operate;
mod paused;
mod process;
mod progress;
mod reclaim;
mod settle;
mod turns;
mod waiting;
mod worker;

pub use backlog::{JobsWaiting, Most};
pub use batch::{Claimed, RunBatch, Settlement};
pub use job::{Job, JobCx, JobId, KeyLimits, Lane, Priority, Rate, RunJob};
pub use operate::{DeadJobs, Kind};

pub(crate) use arrivals::{asked_for_lately, came, promote};
pub(crate) use backlog::count as count_waiting;
use counts::Counts;
pub(crate) use counts::forget_old as forget_old_counts;
pub(crate) use days::tend as tend_days;
pub(crate) use enqueue::NewJob;
pub(crate) use in_flight::InFlight;
pub(crate) use job::{JobKind, JobName, Work};
use node::Node;
pub(crate) use node::forget_gone as forget_gone_nodes;
use paused::Paused;
pub(crate) use reclaim::{hand_back, reclaim};
use settle::Done;
use turns::Turns;
use waiting::Waiting;
pub(crate) use worker::HandOver;

/// What a node knows of the queue.
pub(crate) struct Queue {
    node: Node,
    in_flight: InFlight,
    waiting: [Mutex<Waiting>; 3],
    turns: Turns,
    paused: Paused,
    done: Done,
    counts: Counts,
}

impl Queue {
    pub(crate) fn new(lanes: &Lanes) -> Self {
        Self {
            node: Node::default(),
            in_flight: InFlight::new(lanes),
            waiting: Default::default(),
            turns: Turns::default(),
            paused: Paused::default(),
            done: Done::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    fn node(&self) -> &Node {
        &self.node
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn done(&self) -> &Done {
        &self.done
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn waiting(&self, lane: Lane) -> MutexGuard<'_, Waiting> {
        self.waiting[lane.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self, lane: Lane, tenant: TenantId, time: Duration) {
        self.waiting(lane).used(tenant, time);
    }

    fn is_paused(&self, lane: Lane, kind: &str, queue: &str) -> bool {
        self.paused.holds(lane, kind, queue)
    }

    /// Acts on what another node, or an operator, has changed.
    pub(crate) fn heard(&self, app: &App, change: &Change) {
        match change.topic.as_str() {
            paused::TOPIC => self.paused.changed(),
            cancel::TOPIC => {
                if let Ok(job) = change.subject.parse() {
                    self.in_flight.cancel(job);
                }
                app.wakers().cancelled.notify_one();
            }
            _ => {}
        }
    }

    /// Something waits in this lane that this node may not know of.
    pub(crate) fn sweep_lane(&self, app: &App, lane: Lane) {
        self.waiting(lane).ask_to_sweep();
        app.wakers().lane(lane).notify_one();
    }

    /// The same for every lane.
    fn sweep(&self, app: &App) {
        Lane::ALL.into_iter().for_each(|lane| self.sweep_lane(app, lane));
    }
}

/// Starts what this node does about jobs.
pub(crate) fn run(app: &Arc<App>) {
    for kind in app.job_kinds() {
        if let Work::Together(pipeline) = &kind.work
            && let Some(serve) = pipeline.take()
        {
            app.run(serve(app.clone()));
        }
    }
    for lane in Lane::ALL {
        app.run(worker::work(app.clone(), lane));
    }
    app.run(settle::serve(app.clone()));
    app.run(node::live(app.clone()));
    app.run(reclaim::look_for_forgotten(app.clone()));
    app.run(cancel::serve(app.clone()));
    app.run(paused::follow(app.clone()));
}

/// Counts a run that has ended.
fn ended(app: &App, kind: &str, end: JobEnd) {
    job_ended(app, kind, end);
    app.queue().counts.add(kind, end);
}

/// Runs what a module wrote. A panic in it is its failure and stops nothing else.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::internal(format!("panicked: {}", words.unwrap_or_default())))
    })
}
