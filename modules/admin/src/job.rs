//! A job as operators see it, wherever it is: among those to be done, those done, or those given up.

use freehold_kernel::{JobId, PlatformTx, Result, TenantId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// The lanes as the database numbers them.
pub(crate) const LANES: [&str; 3] = ["transactional", "standard", "bulk"];

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = admin::Job)]
pub(crate) struct Job {
    /// Its id.
    pub(crate) id: JobId,
    /// The tenant it works for.
    pub(crate) tenant_id: TenantId,
    /// The lane it waits in: `transactional`, `standard` or `bulk`.
    #[schema(example = "standard")]
    lane: &'static str,
    /// What kind of work it is.
    #[schema(example = "webhooks.deliver")]
    pub(crate) kind: String,
    /// Jobs of this kind with the same key share its limits. Null: it has none.
    #[schema(example = "whk_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    key: Option<String>,
    /// What goes first among the tenant's jobs in this lane: `high`, `normal` or `low`.
    #[schema(example = "normal")]
    priority: &'static str,
    /// `waiting`, `delayed`, `active`, `completed`, `failed` or `cancelled`.
    #[schema(example = "failed")]
    state: String,
    /// How often it has begun to run.
    #[schema(example = 6)]
    attempts: i32,
    /// What it is to do, as the module wrote it.
    #[schema(value_type = Object, example = json!({"delivery": "del_01jz8q6k3mf1g8tvkh4z6c9x2b"}))]
    payload: Value,
    /// What went wrong in its last run.
    #[schema(example = "took longer than 60 s")]
    error: Option<String>,
    /// How far it has come, if it says.
    progress: Option<Progress>,
    /// When it is to run, or since when it may, by its tenant's own clock if it waits for that. Null
    /// when it has ended.
    run_at: Option<Timestamp>,
    /// When it was asked for.
    created_at: Timestamp,
    /// When its last run began, where that is known.
    started_at: Option<Timestamp>,
    /// When it was done, given up or cancelled.
    finished_at: Option<Timestamp>,
    /// The node that works on it.
    #[schema(example = "app-1/4711")]
    node: Option<String>,
    /// Who asked for it to end, while it has not.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    pub(crate) cancel_requested_by: Option<String>,
}

/// How far a job has come.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = admin::JobProgress)]
struct Progress {
    /// So much of it is done.
    #[schema(example = 120)]
    done: u64,
    /// Of so much.
    #[schema(example = 5000)]
    of: u64,
}

/// A job as the tables have it.
#[derive(Debug)]
pub(crate) struct JobRow {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) lane: i16,
    pub(crate) kind: String,
    /// The kind, or the kind and the key.
    pub(crate) queue: String,
    pub(crate) priority: i16,
    pub(crate) state: String,
    pub(crate) attempts: i32,
    pub(crate) payload: Value,
    pub(crate) error: Option<String>,
    pub(crate) progress: Option<Value>,
    pub(crate) run_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) node: Option<String>,
    pub(crate) cancelled_by: Option<String>,
}

impl From<JobRow> for Job {
    fn from(row: JobRow) -> Self {
        let key = row.queue.strip_prefix(&row.kind).and_then(|rest| rest.strip_prefix('/'));
        Self {
            id: JobId::from_uuid(row.id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            lane: lane_name(row.lane),
            key: key.map(ToOwned::to_owned),
            kind: row.kind,
            priority: match row.priority {
                0 => "high",
                1 => "normal",
                _ => "low",
            },
            state: row.state,
            attempts: row.attempts,
            payload: row.payload,
            error: row.error,
            progress: row.progress.as_ref().and_then(Progress::read),
            run_at: row.run_at,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            node: row.node,
            cancel_requested_by: row.cancelled_by,
        }
    }
}

impl Progress {
    fn read(value: &Value) -> Option<Self> {
        Some(Self { done: value["done"].as_u64()?, of: value["of"].as_u64()? })
    }
}

/// As people call it.
pub(crate) fn lane_name(number: i16) -> &'static str {
    usize::try_from(number).ok().and_then(|place| LANES.get(place)).copied().unwrap_or("unknown")
}

/// A job by its id. One statement, so that none is missed on its way from one table to another.
pub(crate) async fn find(tx: &mut PlatformTx, id: JobId) -> Result<Job> {
    let row = sqlx::query_as!(
        JobRow,
        r#"select j.id as "id!", tenant_id as "tenant_id!", lane as "lane!", kind as "kind!",
           queue as "queue!", priority as "priority!", state as "state!", attempts as "attempts!",
           payload as "payload!", last_error as error, progress,
           case when run_at = 'infinity' then virtual_at else run_at end as run_at,
           created_at as "created_at!", j.started_at, null::timestamptz as finished_at,
           n.name as node, cancelled_by
         from core.jobs j left join core.nodes n on n.id = j.node where j.id = $1
         union all
         select id, tenant_id, lane, kind, queue, priority, state, attempts, payload, error, null, null,
           created_at, null, died_at, null, null
         from core.jobs_dead where id = $1
         union all
         select id, tenant_id, lane, kind, queue, priority, 'completed', attempts, payload, null, null,
           null, created_at, started_at, finished_at, null, null
         from core.jobs_done where id = $1
         limit 1"#,
        *id,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(row.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_that_is_not_two_numbers_is_none() {
        let read = |value: Value| Progress::read(&value);
        assert_eq!(read(json!({"done": 1, "of": 10})), Some(Progress { done: 1, of: 10 }));
        for odd in [json!(null), json!({"done": 1}), json!({"done": -1, "of": 1}), json!([1, 2])] {
            assert_eq!(read(odd), None);
        }
    }

    #[test]
    fn a_lane_that_nobody_knows_is_called_so() {
        assert_eq!([-1, 0, 1, 2, 3].map(lane_name)[1..4], LANES);
        assert_eq!([lane_name(-1), lane_name(3)], ["unknown", "unknown"]);
    }
}
