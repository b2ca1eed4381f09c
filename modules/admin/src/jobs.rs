//! `GET /admin/jobs/{id}`, `POST …/retry`, `POST …/cancel`: one job. Each look and each act is an
//! event of the tenant that the job works for.

use freehold_kernel::{
    Accepted, Cx, DeadJobs, Error, Event, JobId, Json, Path, Reason, Result, Routes, TenantId,
    endpoint,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::job::{Job, find};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/admin/jobs")
        .get("/{id}", "jobs:oversee", get_job)
        .recorded()
        .post("/{id}/retry", "jobs:operate", retry_job)
        .post("/{id}/cancel", "jobs:operate", cancel_job)
}

/// An operator looked at a job and what it was to do.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::JobViewed)]
#[event(type = "job.viewed", subject = job_id)]
pub(crate) struct JobViewed {
    /// The job.
    job_id: JobId,
    /// The tenant it works for.
    tenant_id: TenantId,
    /// What kind of work it is.
    #[schema(example = "webhooks.deliver")]
    kind: String,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// An operator let a job run again that had failed or was cancelled.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::JobRetried)]
#[event(type = "job.retried", subject = job_id)]
pub(crate) struct JobRetried {
    /// The job.
    job_id: JobId,
    /// The tenant it works for.
    tenant_id: TenantId,
    /// What kind of work it is.
    #[schema(example = "webhooks.deliver")]
    kind: String,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// An operator asked for a job to end before it is done.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::JobCancelled)]
#[event(type = "job.cancelled", subject = job_id)]
pub(crate) struct JobCancelled {
    /// The job.
    job_id: JobId,
    /// The tenant it works for.
    tenant_id: TenantId,
    /// What kind of work it is.
    #[schema(example = "webhooks.deliver")]
    kind: String,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// See a job, wherever it is. For operators; the tenant's audit log says that they did, and why.
#[endpoint]
async fn get_job(cx: Cx, Path(id): Path<JobId>, Reason(reason): Reason) -> Result<Json<Job>> {
    let mut tx = cx.platform_tx().await?;
    let job = find(&mut tx, id).await?;
    let (tenant_id, kind) = (job.tenant_id, job.kind.clone());
    tx.emit(tenant_id, JobViewed { job_id: id, tenant_id, kind, reason }).await?;
    tx.commit().await?;
    Ok(Json(job))
}

/// Let a job run again that failed or was cancelled, as if it had never run. For operators.
#[endpoint("admin.job_not_failed")]
async fn retry_job(cx: Cx, Path(id): Path<JobId>, Reason(reason): Reason) -> Result<Json<Job>> {
    let mut tx = cx.platform_tx().await?;
    let which = DeadJobs { id: Some(id), ..DeadJobs::default() };
    let retried = tx.retry_jobs(&which, 1).await?;
    let job = find(&mut tx, id).await?;
    if retried.is_empty() {
        return Err(Error::conflict(
            "admin.job_not_failed",
            "Only a job that failed or was cancelled can run again.",
        ));
    }
    let (tenant_id, kind) = (job.tenant_id, job.kind.clone());
    tx.emit(tenant_id, JobRetried { job_id: id, tenant_id, kind, reason }).await?;
    tx.commit().await?;
    Ok(Json(job))
}

/// Cancel a job that waits or runs. For operators.
///
/// One that waits ends within a second. One that runs is stopped wherever it waits for something, and
/// may have done its work by then, or be done before it hears of it. A job that has ended is refused
/// with 409.
#[endpoint("admin.job_ended")]
async fn cancel_job(
    cx: Cx,
    Path(id): Path<JobId>,
    Reason(reason): Reason,
) -> Result<Accepted<Job>> {
    let by = cx.signed_in()?.principal.to_string();
    let mut tx = cx.platform_tx().await?;
    let before = find(&mut tx, id).await?;
    if tx.cancel_job(id, &by).await?.is_none() {
        return Err(Error::conflict("admin.job_ended", "This job has ended already."));
    }
    let (tenant_id, kind) = (before.tenant_id, before.kind);
    if before.cancel_requested_by.is_none() {
        tx.emit(tenant_id, JobCancelled { job_id: id, tenant_id, kind, reason }).await?;
    }
    let job = find(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Accepted(job))
}
