#![doc = include_str!("../README.md")]

mod bulk_retry;
mod counts;
mod job;
mod job_list;
mod jobs;
mod queue_list;
mod queues;

use freehold_kernel::Module;
use freehold_kernel::SystemRole::Operator;

/// The admin module.
#[must_use]
pub fn module() -> Module {
    Module::new("admin")
        .resource("job", "jobs")
        .resource("queue", "queues")
        .permission("jobs:oversee", "See the jobs and queues of every tenant", &[Operator])
        .permission("jobs:operate", "Retry and cancel jobs, pause and resume queues", &[Operator])
        .publishes::<queues::QueuePaused>()
        .publishes::<queues::QueueResumed>()
        .publishes::<job_list::JobListed>()
        .publishes::<jobs::JobViewed>()
        .publishes::<jobs::JobRetried>()
        .publishes::<jobs::JobCancelled>()
        .publishes::<bulk_retry::JobBulkRetried>()
        .routes(queues::routes())
        .routes(job_list::routes())
        .routes(jobs::routes())
        .routes(bulk_retry::routes())
}
