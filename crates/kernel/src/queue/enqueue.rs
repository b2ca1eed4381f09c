//! Asking for jobs: they are written with the transaction that asks for them, in one statement.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::job::{Job, Lane, interval};
use crate::Db;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Longer keys would make entries of an index that PostgreSQL refuses.
const KEY_BYTES_MAX: usize = 200;

/// A job to be written with the transaction that asks for it.
pub(crate) struct NewJob {
    pub(crate) id: Uuid,
    pub(crate) lane: Lane,
    pub(crate) kind: &'static str,
    pub(crate) tenant: TenantId,
    /// The kind, or the kind and the key.
    pub(crate) queue: Arc<str>,
    pub(crate) priority: i16,
    pub(crate) unique_key: Option<String>,
    /// As JSON.
    pub(crate) payload: String,
    pub(crate) wait: Duration,
    pub(crate) virtual_at: Option<Timestamp>,
}

impl NewJob {
    pub(crate) fn of<J: Job>(
        tenant: TenantId,
        job: &J,
        wait: Duration,
        virtual_at: Option<Timestamp>,
    ) -> Result<Self> {
        let (key, unique_key) = (job.key(), job.unique_key());
        for key in key.iter().chain(&unique_key) {
            if key.len() > KEY_BYTES_MAX {
                let kind = J::KIND;
                return Err(Error::internal(format!("a key of {kind} is too long: {key}")));
            }
        }
        let queue = key.map_or_else(|| J::KIND.into(), |key| format!("{}/{key}", J::KIND).into());
        Ok(Self {
            id: Uuid::now_v7(),
            lane: J::LANE,
            kind: J::KIND,
            tenant,
            queue,
            priority: job.priority().number(),
            unique_key,
            payload: serde_json::to_string(job)?,
            wait,
            virtual_at,
        })
    }

    /// Whether it may run as soon as it is committed.
    pub(super) fn is_due(&self) -> bool {
        self.wait.is_zero() && self.virtual_at.is_none()
    }

    /// Whether it has a key, and with it limits.
    pub(super) fn is_keyed(&self) -> bool {
        self.queue.len() > self.kind.len()
    }

    fn state(&self, held: Option<(Uuid, Uuid)>) -> &'static str {
        match held {
            Some(_) => "active",
            None if self.is_due() => "waiting",
            None => "delayed",
        }
    }
}

/// Writes jobs; those that this node takes at once under its claim and name. Those with a unique key that one
/// has which waits already are left out.
pub(super) async fn write(
    db: &mut Db,
    jobs: &[NewJob],
    claims: &[Option<(Uuid, Uuid)>],
) -> Result<()> {
    let all = || jobs.iter().zip(claims.iter().copied());
    let plain: Vec<_> = all().filter(|(job, _)| job.unique_key.is_none()).collect();
    match plain.as_slice() {
        [] => {}
        [(job, held)] => write_one(db, job, *held).await?,
        many => write_many(db, many).await?,
    }
    let mut unique: Vec<_> = jobs.iter().filter(|job| job.unique_key.is_some()).collect();
    // In one order everywhere, so that no two transactions wait for each other.
    unique.sort_by_key(|job| (*job.tenant, job.kind, job.unique_key.clone()));
    for job in unique {
        write_unique(db, job).await?;
    }
    Ok(())
}

async fn write_many(db: &mut Db, jobs: &[(&NewJob, Option<(Uuid, Uuid)>)]) -> Result<()> {
    let ids: Vec<Uuid> = jobs.iter().map(|(job, _)| job.id).collect();
    let lanes: Vec<i16> = jobs.iter().map(|(job, _)| job.lane.number()).collect();
    let kinds: Vec<&str> = jobs.iter().map(|(job, _)| job.kind).collect();
    let tenants: Vec<Uuid> = jobs.iter().map(|(job, _)| *job.tenant).collect();
    let queues: Vec<&str> = jobs.iter().map(|(job, _)| &*job.queue).collect();
    let priorities: Vec<i16> = jobs.iter().map(|(job, _)| job.priority).collect();
    let payloads: Vec<&str> = jobs.iter().map(|(job, _)| job.payload.as_str()).collect();
    let states: Vec<&str> = jobs.iter().map(|(job, claim)| job.state(*claim)).collect();
    let waits: Vec<_> = jobs.iter().map(|(job, _)| interval(job.wait)).collect();
    let virtuals: Vec<Option<Timestamp>> = jobs.iter().map(|(job, _)| job.virtual_at).collect();
    let claims: Vec<Option<Uuid>> =
        jobs.iter().map(|(_, held)| held.map(|(claim, _)| claim)).collect();
    let nodes: Vec<Option<Uuid>> =
        jobs.iter().map(|(_, held)| held.map(|(_, node)| node)).collect();
    sqlx::query!(
        "insert into core.jobs (id, lane, kind, tenant_id, queue, priority, payload, state, run_at,
           virtual_at, claim, node, started_at, attempts)
         select id, lane, kind, tenant_id, queue, priority, payload::jsonb, state,
           case when virtual_at is null then clock_timestamp() + wait else 'infinity' end, virtual_at,
           claim, node, case when claim is not null then clock_timestamp() end, (claim is not null)::int
         from unnest($1::uuid[], $2::smallint[], $3::text[], $4::uuid[], $5::text[], $6::smallint[],
             $7::text[], $8::text[], $9::interval[], $10::timestamptz[], $11::uuid[], $12::uuid[])
           as j (id, lane, kind, tenant_id, queue, priority, payload, state, wait, virtual_at, claim,
             node)",
        &ids,
        &lanes,
        &kinds as _,
        &tenants,
        &queues as _,
        &priorities,
        &payloads as _,
        &states as _,
        &waits,
        virtuals as _,
        &claims as _,
        &nodes as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// As most requests ask for them. Arrays of one would cost PostgreSQL half as much again.
async fn write_one(db: &mut Db, job: &NewJob, held: Option<(Uuid, Uuid)>) -> Result<()> {
    let (claim, node) = held.unzip();
    sqlx::query!(
        "insert into core.jobs (id, lane, kind, tenant_id, queue, priority, payload, state, run_at,
           virtual_at, claim, node, started_at, attempts)
         values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8,
           case when $10::timestamptz is null then clock_timestamp() + $9::interval else 'infinity' end,
           $10, $11::uuid, $12, case when $11::uuid is not null then clock_timestamp() end,
           ($11::uuid is not null)::int)",
        job.id,
        job.lane.number(),
        job.kind,
        *job.tenant,
        &*job.queue,
        job.priority,
        job.payload,
        job.state(held),
        interval(job.wait),
        job.virtual_at as _,
        claim,
        node,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// One by one: they are few, and each may find that another transaction is writing its like.
async fn write_unique(db: &mut Db, job: &NewJob) -> Result<()> {
    sqlx::query!(
        "insert into core.jobs (id, lane, kind, tenant_id, queue, priority, unique_key, payload, state,
           run_at, virtual_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9,
           case when $11::timestamptz is null then clock_timestamp() + $10::interval else 'infinity' end,
           $11)
         -- Without saying which conflict: that would need the right to read.
         on conflict do nothing",
        job.id,
        job.lane.number(),
        job.kind,
        *job.tenant,
        &*job.queue,
        job.priority,
        job.unique_key,
        job.payload,
        job.state(None),
        interval(job.wait),
        job.virtual_at as _,
    )
    .execute(db)
    .await?;
    Ok(())
}
