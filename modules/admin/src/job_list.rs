//! `GET /admin/jobs`: operators look through the jobs of all tenants.

use freehold_kernel::{
    Cx, Error, Event, List, Page, PlatformTx, Reason, Result, Routes, TenantId, endpoint,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::job::{Job, JobRow, LANES};

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/admin/jobs").get("/", "jobs:oversee", list_jobs).recorded()
}

/// Which jobs.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = admin::JobFilter)]
struct JobFilter {
    /// `waiting`, `delayed`, `active`, `completed`, `failed`, which is what you get without, or
    /// `cancelled`.
    #[schema(
        example = "failed",
        pattern = "^(waiting|delayed|active|completed|failed|cancelled)$"
    )]
    state: Option<String>,
    /// Only those of this kind.
    #[schema(example = "webhooks.deliver")]
    kind: Option<String>,
    /// Only those in this lane: `transactional`, `standard` or `bulk`.
    #[schema(example = "standard", pattern = "^(transactional|standard|bulk)$")]
    lane: Option<String>,
    /// Only those of this tenant.
    tenant_id: Option<TenantId>,
}

/// An operator looked through jobs. Recorded in the operators' own tenant, once for each search.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::JobListed)]
#[event(type = "job.listed", subject = tenant_id)]
pub(crate) struct JobListed {
    /// The operators' own tenant.
    tenant_id: TenantId,
    /// What was looked for.
    #[schema(value_type = Object, example = json!({"state": "failed", "kind": "webhooks.deliver"}))]
    filter: Value,
    /// Why, if the operator said so.
    #[personal]
    #[schema(example = "ticket 4711")]
    reason: Option<String>,
}

/// What a statement needs of the request.
struct Wanted<'a> {
    state: &'a str,
    kind: Option<&'a str>,
    lane: Option<i16>,
    tenant: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
}

/// List jobs. For operators.
///
/// The newest come first. Kinds that come in thousands are not kept when they are done: those that
/// are, are `completed` for a while. The first page of a search is recorded in the operators' own
/// tenant, as `job.listed`.
#[endpoint]
async fn list_jobs(cx: Cx, Reason(reason): Reason, list: List<JobFilter>) -> Result<Page<Job>> {
    let wanted = wanted(&list)?;
    let is_first = wanted.after.is_none();
    let mut tx = cx.platform_tx().await?;
    let rows = match wanted.state {
        "waiting" | "delayed" | "active" => to_be_done(&mut tx, &wanted).await?,
        "failed" | "cancelled" => given_up(&mut tx, &wanted).await?,
        "completed" => done(&mut tx, &wanted).await?,
        _ => {
            let choice = "waiting, delayed, active, completed, failed or cancelled";
            return Err(Error::invalid("state", "core.choice", choice));
        }
    };
    if is_first && let Some(own) = cx.signed_in()?.tenant {
        let JobFilter { kind, lane, tenant_id, .. } = &list.filter;
        let filter =
            json!({"state": wanted.state, "kind": kind, "lane": lane, "tenantId": tenant_id});
        tx.emit(own, JobListed { tenant_id: own, filter, reason }).await?;
        tx.commit().await?;
    }
    list.page(rows.into_iter().map(Job::from).collect(), |job| *job.id)
}

fn wanted(list: &List<JobFilter>) -> Result<Wanted<'_>> {
    let JobFilter { state, kind, lane, tenant_id } = &list.filter;
    let lane = lane.as_deref().map(|wanted| {
        let place = LANES.iter().position(|name| *name == wanted);
        place
            .and_then(|place| i16::try_from(place).ok())
            .ok_or_else(|| Error::invalid("lane", "core.choice", "transactional, standard or bulk"))
    });
    Ok(Wanted {
        state: state.as_deref().unwrap_or("failed"),
        kind: kind.as_deref(),
        lane: lane.transpose()?,
        tenant: tenant_id.map(|tenant| *tenant),
        after: list.after()?,
        limit: list.fetch_limit(),
    })
}

async fn to_be_done(tx: &mut PlatformTx, wanted: &Wanted<'_>) -> Result<Vec<JobRow>> {
    let rows = sqlx::query_as!(
        JobRow,
        r#"select j.id, j.tenant_id, j.lane, j.kind, j.queue, j.priority, j.state, j.attempts, j.payload,
           j.last_error as error, j.progress,
           case when j.run_at = 'infinity' then j.virtual_at else j.run_at end as run_at, j.created_at,
           j.started_at, null::timestamptz as finished_at, n.name as "node?", j.cancelled_by
         from core.jobs j left join core.nodes n on n.id = j.node
         where j.state = $1 and ($2::text is null or j.kind = $2)
           and ($3::smallint is null or j.lane = $3) and ($4::uuid is null or j.tenant_id = $4)
           and ($5::uuid is null or j.id < $5)
         order by j.id desc limit $6"#,
        wanted.state,
        wanted.kind,
        wanted.lane,
        wanted.tenant,
        wanted.after,
        wanted.limit,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(rows)
}

async fn given_up(tx: &mut PlatformTx, wanted: &Wanted<'_>) -> Result<Vec<JobRow>> {
    let rows = sqlx::query_as!(
        JobRow,
        r#"select id, tenant_id, lane, kind, queue, priority, state, attempts, payload, error as "error?",
           null::jsonb as progress, null::timestamptz as run_at, created_at,
           null::timestamptz as started_at, died_at as "finished_at?", null::text as node,
           null::text as cancelled_by
         from core.jobs_dead
         where state = $1 and ($2::text is null or kind = $2)
           and ($3::smallint is null or lane = $3) and ($4::uuid is null or tenant_id = $4)
           and ($5::uuid is null or id < $5)
         order by id desc limit $6"#,
        wanted.state,
        wanted.kind,
        wanted.lane,
        wanted.tenant,
        wanted.after,
        wanted.limit,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(rows)
}

async fn done(tx: &mut PlatformTx, wanted: &Wanted<'_>) -> Result<Vec<JobRow>> {
    let rows = sqlx::query_as!(
        JobRow,
        r#"select id, tenant_id, lane, kind, queue, priority, 'completed' as "state!", attempts, payload,
           null::text as error, null::jsonb as progress, null::timestamptz as run_at, created_at,
           started_at, finished_at as "finished_at?", null::text as node, null::text as cancelled_by
         from core.jobs_done
         where ($1::text is null or kind = $1)
           and ($2::smallint is null or lane = $2) and ($3::uuid is null or tenant_id = $3)
           and ($4::uuid is null or id < $4)
         order by id desc limit $5"#,
        wanted.kind,
        wanted.lane,
        wanted.tenant,
        wanted.after,
        wanted.limit,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(rows)
}
