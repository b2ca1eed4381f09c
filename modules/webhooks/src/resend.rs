//! The job behind a replay: it goes through the events of the window, a few hundred in a transaction,
//! and sets on their way what the endpoint wants and has not got.

use std::time::Duration;

use freehold_kernel::{
    Claimed, Db, Job, JobCx, Lane, Result, RunJob, SystemTx, TenantId, Timestamp, Tx,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::deliver::{Deliver, Reason};
use crate::deliveries::DeliveryId;
use crate::dispatch::patterns;
use crate::endpoints::EndpointId;
use crate::events::subject_of;
use crate::filter::{Filter, Subject};
use crate::replays::ReplayId;

/// Events looked at in one transaction, and where a filter has to be asked about what each says.
const AT_ONCE: i64 = 500;
const READ_AT_ONCE: i64 = 100;
/// Transactions in one run of the job.
const STEPS: usize = 40;
/// So many events are not counted, for that takes longer than it is worth to whoever waits.
const UNCOUNTED: i64 = 1_000_001;

const OFF: &str = "the webhook was switched off";
const GIVEN_UP: &str = "it was stopped on our side; start it again";

/// Goes through the events of a replay.
#[derive(Serialize, Deserialize)]
pub(crate) struct Resend {
    pub(crate) replay: ReplayId,
    pub(crate) endpoint: EndpointId,
}

impl Job for Resend {
    const KIND: &'static str = "webhooks.resend";
    const LANE: Lane = Lane::Bulk;

    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 20).then(|| Duration::from_secs(u64::from(failures.min(30))))
    }

    /// Or nobody could start another one.
    async fn given_up(tx: &mut SystemTx, claimed: &Claimed<Self>, _: &str) -> Result<()> {
        let now = tx.real_now();
        claimed.job.fail(tx.db(), claimed.tenant, GIVEN_UP, now).await
    }
}

impl RunJob for Resend {
    async fn run(self, cx: JobCx) -> Result<()> {
        for step in 1.. {
            let mut tx = cx.tx().await?;
            let goes_on = self.step(&mut tx).await?;
            match (goes_on, step < STEPS) {
                (true, true) => tx.commit().await?,
                (true, false) => {
                    cx.repeat(&mut tx, Duration::ZERO, "there are more events").await?;
                    return tx.commit().await;
                }
                (false, _) => {
                    cx.finish(&mut tx).await?;
                    return tx.commit().await;
                }
            }
        }
        Ok(())
    }
}

/// An event of the window, and what has become of its delivery.
struct Looked {
    id: Uuid,
    at: Timestamp,
    kind: String,
    data: Option<Value>,
    wanted: bool,
}

/// Where a replay has come to.
struct Position {
    reached_at: Timestamp,
    reached_id: Uuid,
    until: Timestamp,
    events: Vec<String>,
    looked_at: i64,
    is_active: bool,
    /// What the endpoint wants now.
    wants: Vec<String>,
    filter: Option<String>,
    /// Whose endpoint it is, if not the tenant's own.
    customer: Option<String>,
}

impl Position {
    fn at_once(&self) -> i64 {
        if self.filter.is_some() { READ_AT_ONCE } else { AT_ONCE }
    }

    /// What all events are about that are looked at.
    fn subject(&self) -> Option<String> {
        self.customer.as_deref().map(subject_of)
    }
}

impl Resend {
    /// Looks at the next events; says whether there may be more.
    async fn step(&self, tx: &mut Tx) -> Result<bool> {
        let Some(position) = self.position(tx).await? else { return Ok(false) };
        if !position.is_active {
            // What it would send now could only fail.
            let (tenant, now) = (tx.tenant(), tx.real_now());
            self.fail(tx.db(), tenant, OFF, now).await?;
            return Ok(false);
        }
        if position.looked_at == 0 {
            self.count(tx, &position).await?;
        }
        let looked = self.look(tx, &position).await?;
        let filter = position.filter.as_deref().and_then(|text| Filter::parse(text).ok());
        let is_wanted = |event: &&Looked| {
            let patterns = patterns(&event.kind);
            let in_list = |list: &[String]| patterns.iter().any(|one| list.contains(one));
            let passes = match (&filter, &event.data) {
                (Some(filter), Some(data)) => filter.passes(&Subject::of(data)),
                _ => true,
            };
            event.wanted && in_list(&position.wants) && in_list(&position.events) && passes
        };
        let missed: Vec<&Looked> = looked.iter().filter(is_wanted).collect();
        let sent = self.send(tx, &missed).await?;
        let full = i64::try_from(looked.len()).is_ok_and(|count| count == position.at_once());
        self.reach(tx, &looked, sent, full).await?;
        Ok(full)
    }

    async fn position(&self, tx: &mut Tx) -> Result<Option<Position>> {
        let tenant = tx.tenant();
        let position = sqlx::query_as!(
            Position,
            "select r.reached_at, r.reached_id, r.until, r.events, r.looked_at, w.is_active,
               w.events as wants, w.options ->> 'filter' as filter, w.customer
             from webhooks.replays r
             join webhooks.endpoints w on w.tenant_id = r.tenant_id and w.id = r.endpoint_id
             where r.tenant_id = $1 and r.id = $2 and r.status = 'running'
             for update of r",
            *tenant,
            *self.replay,
        )
        .fetch_optional(tx.db())
        .await?;
        Ok(position)
    }

    async fn count(&self, tx: &mut Tx, position: &Position) -> Result<()> {
        let tenant = tx.tenant();
        sqlx::query!(
            "update webhooks.replays set total = (
               select nullif(count(*), $6) from (
                 select from core.events
                 where tenant_id = $1 and at >= $3 and at < $4
                   and ($5::text is null or (subject = $5 and source = 'custom'))
                 limit $6) as e)
             where tenant_id = $1 and id = $2",
            *tenant,
            *self.replay,
            position.reached_at as _,
            position.until as _,
            position.subject(),
            UNCOUNTED,
        )
        .execute(tx.db())
        .await?;
        Ok(())
    }

    /// Ends the replay before it has gone through its window.
    async fn fail(&self, db: &mut Db, tenant: TenantId, why: &str, now: Timestamp) -> Result<()> {
        sqlx::query!(
            "update webhooks.replays set status = 'failed', error = $3, finished_at = $4
             where tenant_id = $1 and id = $2 and status = 'running'",
            *tenant,
            *self.replay,
            why,
            now as _,
        )
        .execute(db)
        .await?;
        Ok(())
    }

    async fn look(&self, tx: &mut Tx, position: &Position) -> Result<Vec<Looked>> {
        let tenant = tx.tenant();
        let events = sqlx::query_as!(
            Looked,
            r#"select e.id, e.at, e.type as kind,
                 case when $6 then e.data end as data,
                 e.type <> 'webhook.tested' and coalesce(d.status, 'failed') = 'failed' as "wanted!"
               from core.events e
               left join webhooks.deliveries d on d.tenant_id = e.tenant_id
                 and d.id = webhooks.delivery_id(e.id, $2)
               where e.tenant_id = $1 and (e.at, e.id) > ($3, $4) and e.at < $5
                 and ($8::text is null or (e.subject = $8 and e.source = 'custom'))
               order by e.at, e.id limit $7"#,
            *tenant,
            *self.endpoint,
            position.reached_at as _,
            position.reached_id,
            position.until as _,
            position.filter.is_some(),
            position.at_once(),
            position.subject(),
        )
        .fetch_all(tx.db())
        .await?;
        Ok(events)
    }

    /// Sets deliveries on their way: again, or for the first time.
    async fn send(&self, tx: &mut Tx, missed: &[&Looked]) -> Result<usize> {
        if missed.is_empty() {
            return Ok(0);
        }
        let (tenant, now) = (tx.tenant(), tx.now());
        let ids: Vec<Uuid> = missed.iter().map(|event| event.id).collect();
        let kinds: Vec<String> = missed.iter().map(|event| event.kind.clone()).collect();
        let ats: Vec<Timestamp> = missed.iter().map(|event| event.at).collect();
        let made = sqlx::query!(
            r#"insert into webhooks.deliveries as d
                 (tenant_id, id, endpoint_id, event_id, event_type, event_at, created_at,
                  next_attempt_at)
               select $1, webhooks.delivery_id(e.id, $2), $2, e.id, e.kind, e.at, $6, $6
               from unnest($3::uuid[], $4::text[], $5::timestamptz[]) as e (id, kind, at)
               on conflict (tenant_id, id) do update
               set status = 'pending', turn = d.turn + 1, next_attempt_at = $6,
                 attempts_before = d.attempts
               where d.status = 'failed'
               returning id as "id: DeliveryId", turn"#,
            *tenant,
            *self.endpoint,
            &ids,
            &kinds,
            ats as _,
            now as _,
        )
        .fetch_all(tx.db())
        .await?;
        for row in &made {
            tx.enqueue(&Deliver {
                delivery: row.id,
                endpoint: self.endpoint,
                turn: row.turn,
                reason: Reason::Replay,
            })?;
        }
        Ok(made.len())
    }

    /// Notes how far it has come.
    async fn reach(
        &self,
        tx: &mut Tx,
        looked: &[Looked],
        sent: usize,
        goes_on: bool,
    ) -> Result<()> {
        let (tenant, now, last) = (tx.tenant(), tx.real_now(), looked.last());
        sqlx::query!(
            "update webhooks.replays
             set reached_at = coalesce($3, reached_at), reached_id = coalesce($4, reached_id),
               looked_at = looked_at + $5, sent = sent + $6,
               status = case when $7 then 'running' else 'completed' end,
               finished_at = case when $7 then null else $8::timestamptz end
             where tenant_id = $1 and id = $2",
            *tenant,
            *self.replay,
            last.map(|event| event.at) as _,
            last.map(|event| event.id),
            i64::try_from(looked.len()).unwrap_or(i64::MAX),
            i64::try_from(sent).unwrap_or(i64::MAX),
            goes_on,
            now as _,
        )
        .execute(tx.db())
        .await?;
        Ok(())
    }
}
