//! Replays: an endpoint is sent again what it missed in a window of time, as after an outage of its
//! receiver. A job goes through the events of the window; whoever waits sees how far it has come.

use std::time::Duration;

use freehold_kernel::{
    Accepted, Error, Event, Id, Job, JobCx, Json, Lane, List, Named, NoFilter, Page, Path, Result,
    Routes, RunJob, Timestamp, Tx, endpoint,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::deliver::{Deliver, Reason};
use crate::deliveries::DeliveryId;
use crate::dispatch::patterns;
use crate::endpoint_input::event_pattern;
use crate::endpoints::{EndpointId, confined_to, find as find_endpoint};
use crate::events::subject_of;
use crate::filter::{Filter, Subject};

/// Events looked at in one transaction.
const AT_ONCE: i64 = 500;
/// Transactions in one run of the job.
const STEPS: usize = 40;

pub(crate) fn routes() -> Routes {
    Routes::at("/api/v1/webhooks/{id}")
        .post("/replay", "webhooks:write", replay_webhook)
        .portal()
        .get("/replays", "webhooks:read", list_replays)
        .portal()
        .get("/replays/{replay}", "webhooks:read", get_replay)
        .portal()
        .post("/replays/{replay}/cancel", "webhooks:write", cancel_replay)
        .portal()
}

/// The id of a replay.
pub(crate) type ReplayId = Id<Replay>;

/// A window of events that a receiver is sent again what it missed of.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::Replay)]
pub(crate) struct Replay {
    /// The replay.
    id: ReplayId,
    /// The endpoint.
    webhook_id: EndpointId,
    /// The beginning of the window.
    since: Timestamp,
    /// Its end, which is not part of it.
    until: Timestamp,
    /// Which events: names, `resource.*`, or `*`.
    #[schema(example = json!(["*"]))]
    events: Vec<String>,
    /// `running`, `completed` or `cancelled`.
    #[schema(example = "running")]
    status: String,
    /// How many events there are in the window; null until they have been counted.
    #[schema(example = 12_000)]
    total: Option<i64>,
    /// How many of them have been looked at.
    #[schema(example = 4_500)]
    looked_at: i64,
    /// How many are sent again: those that the endpoint wants and that had not arrived.
    #[schema(example = 310)]
    sent: i64,
    /// Who asked for it.
    #[schema(example = "usr_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    created_by: String,
    /// When.
    created_at: Timestamp,
    /// When it ended.
    finished_at: Option<Timestamp>,
}

impl Named for Replay {
    const PREFIX: &'static str = "rpl";
}

/// What to send again.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewReplay)]
struct NewReplay {
    /// The beginning of the window.
    #[garde(skip)]
    since: Timestamp,
    /// Its end; now, if absent.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// Only these events: names, `resource.*`, or `*`; all that the endpoint wants, if absent.
    #[serde(default = "all")]
    #[garde(length(min = 1, max = 100), inner(custom(event_pattern)))]
    #[schema(
        example = json!(["order.*"]),
        pattern = r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$",
        max_length = 128,
        min_items = 1,
        max_items = 100
    )]
    events: Vec<String>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

/// A receiver is sent again what it missed.
#[derive(Serialize, ToSchema, Event)]
#[serde(rename_all = "camelCase")]
#[schema(as = webhooks::WebhookReplayed)]
#[event(type = "webhook.replayed", subject = webhook_id)]
pub(crate) struct WebhookReplayed {
    /// The endpoint.
    webhook_id: EndpointId,
    /// The replay.
    replay_id: ReplayId,
    /// The beginning of the window.
    since: Timestamp,
    /// Its end.
    until: Timestamp,
}

/// Send an endpoint again what it missed of a window of time: events that it wants whose delivery
/// failed, or that were never sent to it because it was switched off or did not want them then. What
/// happens meanwhile goes first. One replay of an endpoint runs at a time.
#[endpoint("webhooks.switched_off", "webhooks.replay_running", "webhooks.empty_window")]
async fn replay_webhook(
    Path(id): Path<EndpointId>,
    Json(new): Json<NewReplay>,
    mut tx: Tx,
) -> Result<Accepted<Replay>> {
    let endpoint = find_endpoint(&mut tx, id).await?;
    if !endpoint.is_active {
        let words = "This webhook is switched off; switch it on first.";
        return Err(Error::conflict("webhooks.switched_off", words));
    }
    let (tenant, replay, now) = (tx.tenant(), ReplayId::new(), tx.real_now());
    let (since, until) = (new.since, new.until.map_or(now, |until| until.min(now)));
    if since >= until {
        let words = "begins in the past and before `until`";
        return Err(Error::invalid("/since", "webhooks.empty_window", words));
    }
    let created_by = tx.actor()?.principal.to_string();
    let made = sqlx::query!(
        "insert into webhooks.replays
           (tenant_id, id, endpoint_id, since, until, events, reached_at, reached_id, created_by,
            created_at)
         values ($1, $2, $3, $4, $5, $6, $4, $7, $8, $9)
         on conflict (tenant_id, endpoint_id) where status = 'running' do nothing",
        *tenant,
        *replay,
        *id,
        since as _,
        until as _,
        &new.events,
        Uuid::nil(),
        created_by,
        now as _,
    )
    .execute(tx.db())
    .await?;
    if made.rows_affected() == 0 {
        let words = "A replay of this webhook is running; wait for it or cancel it.";
        return Err(Error::conflict("webhooks.replay_running", words));
    }
    tx.emit(WebhookReplayed { webhook_id: id, replay_id: replay, since, until }).await?;
    tx.enqueue(&Resend { replay, endpoint: id })?;
    Ok(Accepted(find(&mut tx, id, replay).await?))
}

/// List an endpoint's replays, newest first.
#[endpoint]
async fn list_replays(
    Path(id): Path<EndpointId>,
    list: List<NoFilter>,
    mut tx: Tx,
) -> Result<Page<Replay>> {
    find_endpoint(&mut tx, id).await?;
    let (tenant, after) = (tx.tenant(), list.after::<Uuid>()?);
    let replays = sqlx::query_as!(
        Replay,
        "select id, endpoint_id as webhook_id, since, until, events, status, total, looked_at, sent,
           created_by, created_at, finished_at
         from webhooks.replays
         where tenant_id = $1 and endpoint_id = $2 and ($3::uuid is null or id < $3)
         order by id desc limit $4",
        *tenant,
        *id,
        after,
        list.fetch_limit(),
    )
    .fetch_all(tx.db())
    .await?;
    list.page(replays, |replay| *replay.id)
}

/// See how far a replay has come.
#[endpoint]
async fn get_replay(
    Path((id, replay)): Path<(EndpointId, ReplayId)>,
    mut tx: Tx,
) -> Result<Json<Replay>> {
    Ok(Json(find(&mut tx, id, replay).await?))
}

/// Stop a replay. What it has sent on its way so far still arrives.
#[endpoint("webhooks.replay_ended")]
async fn cancel_replay(
    Path((id, replay)): Path<(EndpointId, ReplayId)>,
    mut tx: Tx,
) -> Result<Json<Replay>> {
    find(&mut tx, id, replay).await?;
    let (tenant, now) = (tx.tenant(), tx.real_now());
    let stopped = sqlx::query!(
        "update webhooks.replays set status = 'cancelled', finished_at = $4
         where tenant_id = $1 and endpoint_id = $2 and id = $3 and status = 'running'",
        *tenant,
        *id,
        *replay,
        now as _,
    )
    .execute(tx.db())
    .await?;
    if stopped.rows_affected() == 0 {
        return Err(Error::conflict("webhooks.replay_ended", "This replay has ended already."));
    }
    Ok(Json(find(&mut tx, id, replay).await?))
}

/// One of an endpoint that the caller may see.
async fn find(tx: &mut Tx, id: EndpointId, replay: ReplayId) -> Result<Replay> {
    let (tenant, customer) = (tx.tenant(), confined_to(tx));
    let found = sqlx::query_as!(
        Replay,
        "select r.id, r.endpoint_id as webhook_id, r.since, r.until, r.events, r.status, r.total,
           r.looked_at, r.sent, r.created_by, r.created_at, r.finished_at
         from webhooks.replays r
         join webhooks.endpoints w on w.tenant_id = r.tenant_id and w.id = r.endpoint_id
         where r.tenant_id = $1 and r.endpoint_id = $2 and r.id = $3
           and ($4::text is null or w.customer = $4)",
        *tenant,
        *id,
        *replay,
        customer.as_deref(),
    )
    .fetch_one(tx.db())
    .await?;
    Ok(found)
}

/// Goes through the events of a replay.
#[derive(Serialize, Deserialize)]
pub(crate) struct Resend {
    replay: ReplayId,
    endpoint: EndpointId,
}

impl Job for Resend {
    const KIND: &'static str = "webhooks.resend";
    const LANE: Lane = Lane::Bulk;

    fn retry_after(failures: u32) -> Option<Duration> {
        (failures < 20).then(|| Duration::from_secs(u64::from(failures.min(30))))
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
    total: Option<i64>,
    /// What the endpoint wants now.
    wants: Vec<String>,
    filter: Option<String>,
    /// Whose endpoint it is, if not the tenant's own.
    customer: Option<String>,
}

impl Position {
    /// What all events are about that are looked at.
    fn subject(&self) -> Option<String> {
        self.customer.as_deref().map(subject_of)
    }
}

impl Resend {
    /// Looks at the next events; says whether there may be more.
    async fn step(&self, tx: &mut Tx) -> Result<bool> {
        let Some(position) = self.position(tx).await? else { return Ok(false) };
        if position.total.is_none() {
            self.count(tx, &position).await?;
        }
        let looked = self.look(tx, &position).await?;
        let filter = position.filter.as_deref().and_then(|text| Filter::parse(text).ok());
        let is_wanted = |event: &&Looked| {
            let patterns = patterns(&event.kind);
            let in_list =
                |list: &[String]| patterns.split(',').any(|one| list.iter().any(|p| p == one));
            let passes = match (&filter, &event.data) {
                (Some(filter), Some(data)) => filter.passes(&Subject::of(data)),
                _ => true,
            };
            event.wanted && in_list(&position.wants) && in_list(&position.events) && passes
        };
        let missed: Vec<&Looked> = looked.iter().filter(is_wanted).collect();
        let sent = self.send(tx, &missed).await?;
        self.reach(tx, &looked, sent).await
    }

    async fn position(&self, tx: &mut Tx) -> Result<Option<Position>> {
        let tenant = tx.tenant();
        let position = sqlx::query_as!(
            Position,
            "select r.reached_at, r.reached_id, r.until, r.events, r.total, w.events as wants,
               w.options ->> 'filter' as filter, w.customer
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
               select count(*) from core.events
               where tenant_id = $1 and at >= $3 and at < $4
                 and ($5::text is null or (subject = $5 and source = 'custom')))
             where tenant_id = $1 and id = $2",
            *tenant,
            *self.replay,
            position.reached_at as _,
            position.until as _,
            position.subject(),
        )
        .execute(tx.db())
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
            AT_ONCE,
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
    async fn reach(&self, tx: &mut Tx, looked: &[Looked], sent: usize) -> Result<bool> {
        let full = i64::try_from(looked.len()).is_ok_and(|count| count == AT_ONCE);
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
            full,
            now as _,
        )
        .execute(tx.db())
        .await?;
        Ok(full)
    }
}
