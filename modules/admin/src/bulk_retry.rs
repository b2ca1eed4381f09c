//! `POST /admin/jobs/retry`: after an outage, many jobs run again at once.

use std::collections::BTreeMap;

use freehold_kernel::{
    Cx, DeadJobs, Error, Event, Json, PlatformTx, Reason, Result, Routes, TenantId, Timestamp,
    endpoint, rules,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// How many jobs begin to wait in one transaction.
const AT_ONCE: i64 = 10_000;
/// Nobody needs to know more exactly how many are left.
const REMAINING_MAX: i64 = 100_000;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/admin/jobs").post("/retry", "jobs:operate", retry_jobs)
}

/// Which jobs are to run again; at least one field. Those that fail again are among them once more
/// unless `until` says until when.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = admin::RetryJobs, min_properties = 1)]
struct RetryJobs {
    /// Those of this kind.
    #[serde(default, deserialize_with = "rules::present")]
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[schema(value_type = String, required = false, example = "webhooks.deliver", min_length = 1, max_length = 200)]
    kind: Option<String>,
    /// Those of this tenant.
    #[serde(default, deserialize_with = "rules::present")]
    #[garde(skip)]
    #[schema(value_type = TenantId, required = false)]
    tenant_id: Option<TenantId>,
    /// Those that ended then or later.
    #[serde(default, deserialize_with = "rules::present")]
    #[garde(skip)]
    #[schema(value_type = Timestamp, required = false)]
    since: Option<Timestamp>,
    /// Those that ended before that.
    #[serde(default, deserialize_with = "rules::present")]
    #[garde(skip)]
    #[schema(value_type = Timestamp, required = false, example = "2026-11-21T12:00:00.000Z")]
    until: Option<Timestamp>,
}

/// How many jobs run again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::RetriedJobs)]
struct RetriedJobs {
    /// So many wait now.
    #[schema(example = 10_000)]
    retried: usize,
    /// So many are left, counted up to 100,000: ask again until there are none.
    #[schema(example = 2_500)]
    remaining: i64,
}

/// An operator let jobs of the tenant run again that had failed or were cancelled.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::JobBulkRetried)]
#[event(type = "job.bulk_retried", subject = tenant_id)]
pub(crate) struct JobBulkRetried {
    /// The tenant they work for.
    tenant_id: TenantId,
    /// How many.
    #[schema(example = 120)]
    count: usize,
    /// The kind that was asked for, if any was.
    #[schema(example = "webhooks.deliver")]
    kind: Option<String>,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// Let jobs run again that failed or were cancelled, the oldest first. For operators.
///
/// At most 10,000 of them at a time; ask again until `remaining` is 0. With `until`, those that fail
/// again meanwhile are left alone.
#[endpoint]
async fn retry_jobs(
    cx: Cx,
    Reason(reason): Reason,
    Json(which): Json<RetryJobs>,
) -> Result<Json<RetriedJobs>> {
    let RetryJobs { kind, tenant_id: tenant, since, until } = which;
    if kind.is_none() && tenant.is_none() && since.is_none() && until.is_none() {
        let rule = "say which: at least one of kind, tenantId, since and until";
        return Err(Error::invalid("", "core.required", rule));
    }
    let which = DeadJobs { id: None, kind, tenant, since, until };
    let mut tx = cx.platform_tx().await?;
    let jobs = tx.retry_jobs(&which, AT_ONCE).await?;
    // In the order of ids, so that two who do this at once wait for each other in one order.
    let mut by_tenant: BTreeMap<Uuid, usize> = BTreeMap::new();
    for (_, tenant, _) in &jobs {
        *by_tenant.entry(**tenant).or_default() += 1;
    }
    for (tenant, count) in by_tenant {
        let tenant_id = TenantId::from_uuid(tenant);
        let (kind, reason) = (which.kind.clone(), reason.clone());
        tx.emit(tenant_id, JobBulkRetried { tenant_id, count, kind, reason }).await?;
    }
    let remaining = remaining(&mut tx, &which).await?;
    tx.commit().await?;
    Ok(Json(RetriedJobs { retried: jobs.len(), remaining }))
}

async fn remaining(tx: &mut PlatformTx, which: &DeadJobs) -> Result<i64> {
    let remaining = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
           select 1 from core.jobs_dead
           where ($1::text is null or kind = $1) and ($2::uuid is null or tenant_id = $2)
             and ($3::timestamptz is null or died_at >= $3)
             and ($4::timestamptz is null or died_at < $4)
           limit $5) as d"#,
        which.kind.as_deref(),
        which.tenant.map(|tenant| *tenant),
        which.since as _,
        which.until as _,
        REMAINING_MAX,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(remaining)
}
