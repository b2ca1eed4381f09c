//! From events to deliveries: a batch of events becomes one row for each receiver that wants one,
//! and a job for each row.

use std::collections::HashMap;
use std::time::Duration;

use freehold_kernel::{CustomEvent, EventId, Result, StoredEvent, SystemTx, TenantId, Timestamp};
use moka::sync::Cache;
use serde_json::Value;
use uuid::Uuid;

use crate::deliver::{Deliver, Reason};
use crate::deliveries::DeliveryId;
use crate::endpoints::EndpointId;
use crate::events::customer_of;
use crate::filter::{Filter, Subject};

/// Deliveries that are made while requests wait: for one of them, for those of a tenant, and for all
/// that are taken together. More are left to the outbox, so that no tenant with many receivers holds
/// up those whose events are taken with its own.
const OF_A_REQUEST_MAX: usize = 128;
const OF_A_TENANT_MAX: usize = 256;
const OF_A_GROUP_MAX: usize = 1_024;
/// Deliveries of an event of a tenant that is not known yet.
const WIDTH_GUESSED: usize = 8;
const TENANTS_KNOWN: u64 = 10_000;

/// Something that happened, for whoever wants to know.
pub(crate) struct Happened<'a> {
    tenant: TenantId,
    id: EventId,
    at: Timestamp,
    kind: &'a str,
    data: &'a Value,
    /// The tenant's customer that it is about. Nothing of ours is about one.
    customer: Option<&'a str>,
}

impl<'a> Happened<'a> {
    /// From the outbox.
    fn stored(event: &'a StoredEvent) -> Self {
        let StoredEvent { tenant, id, at, kind, data, .. } = event;
        let customer = customer_of(&event.source, &event.subject);
        Self { tenant: *tenant, id: *id, at: *at, kind, data, customer }
    }

    /// Just taken.
    pub(crate) fn custom(tenant: TenantId, event: &'a CustomEvent) -> Self {
        let CustomEvent { id, at, kind, data, .. } = event;
        let customer = customer_of("custom", &event.subject);
        Self { tenant, id: *id, at: *at, kind, data, customer }
    }
}

/// How many receivers the events of a tenant went to, at the most within a minute.
#[derive(Clone)]
pub(crate) struct Widths(Cache<TenantId, usize>);

impl Default for Widths {
    fn default() -> Self {
        let known = Cache::builder().max_capacity(TENANTS_KNOWN);
        Self(known.time_to_live(Duration::from_secs(60)).build())
    }
}

impl Widths {
    fn note(&self, batch: &[Happened<'_>], made: impl Iterator<Item = TenantId>) {
        let mut counts: HashMap<TenantId, (usize, usize)> = HashMap::new();
        batch.iter().for_each(|event| counts.entry(event.tenant).or_default().0 += 1);
        made.for_each(|tenant| counts.entry(tenant).or_default().1 += 1);
        for (tenant, (events, deliveries)) in counts {
            let width = deliveries.div_ceil(events.max(1));
            if self.0.get(&tenant).is_none_or(|known| known < width) {
                self.0.insert(tenant, width);
            }
        }
    }
}

/// What may be made while requests wait, as far as it can be guessed.
pub(crate) struct Room {
    widths: Widths,
    of_tenants: HashMap<TenantId, usize>,
    of_all: usize,
}

impl Room {
    /// For requests that are taken together.
    pub(crate) fn of(widths: Widths) -> Self {
        Self { widths, of_tenants: HashMap::new(), of_all: 0 }
    }

    /// Whether the deliveries of this request's events still find room; takes it, if so.
    pub(crate) fn takes(&mut self, tenant: TenantId, events: &[CustomEvent]) -> bool {
        let width = self.widths.0.get(&tenant).unwrap_or(WIDTH_GUESSED).max(1);
        let wanted = events.len().saturating_mul(width);
        let of_tenant = self.of_tenants.entry(tenant).or_default();
        let fits = wanted <= OF_A_REQUEST_MAX
            && *of_tenant + wanted <= OF_A_TENANT_MAX
            && self.of_all + wanted <= OF_A_GROUP_MAX;
        if fits {
            *of_tenant += wanted;
            self.of_all += wanted;
        }
        fits
    }
}

/// What came of an event and an endpoint.
struct Met {
    tenant_id: Uuid,
    endpoint_id: EndpointId,
    /// The delivery that was made and its turn.
    id: Option<DeliveryId>,
    turn: Option<i32>,
    /// None was made yet: the event, from 1, and the filter that it has to pass.
    place: Option<i64>,
    filter: Option<String>,
}

/// Handles a batch off the outbox. Events come at least once; the unique key makes each go to a
/// receiver once.
pub(crate) async fn handle(tx: &mut SystemTx, batch: &[StoredEvent]) -> Result<()> {
    let happened: Vec<Happened<'_>> = batch.iter().map(Happened::stored).collect();
    fan_out(tx, &happened).await
}

/// Makes the deliveries of these events and asks for their jobs.
pub(crate) async fn fan_out(tx: &mut SystemTx, batch: &[Happened<'_>]) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let met = meet(tx, batch).await?;
    let passed = pass(&met, batch);
    for one in &met {
        if let (Some(id), Some(turn)) = (one.id, one.turn) {
            enqueue(tx, one.tenant_id, id, one.endpoint_id, turn)?;
        }
    }
    if let Some(widths) = tx.app().state::<Widths>() {
        widths.note(batch, met.iter().map(|one| TenantId::from_uuid(one.tenant_id)));
    }
    if !passed.is_empty() {
        deliver(tx, &passed).await?;
    }
    Ok(())
}

/// Makes the deliveries to endpoints without a filter; those with one are left to us.
async fn meet(tx: &mut SystemTx, batch: &[Happened<'_>]) -> Result<Vec<Met>> {
    let tenants: Vec<Uuid> = batch.iter().map(|event| *event.tenant).collect();
    let ids: Vec<Uuid> = batch.iter().map(|event| *event.id).collect();
    let kinds: Vec<&str> = batch.iter().map(|event| event.kind).collect();
    let patterns: Vec<String> = batch.iter().map(|event| patterns(event.kind).join(",")).collect();
    let ats: Vec<Timestamp> = batch.iter().map(|event| event.at).collect();
    let customers: Vec<Option<&str>> = batch.iter().map(|event| event.customer).collect();
    let now = tx.real_now();
    let met = sqlx::query_as!(
        Met,
        r#"-- tidy: across tenants because a batch holds events of many
         with met as (
           select e.*, w.id as endpoint_id, w.options ->> 'filter' as filter
           from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $7::text[])
             with ordinality as e (tenant_id, id, kind, patterns, at, customer, place)
           -- Looked up apart, for a tenant may have thousands of customers. What is not about a
           -- customer is none of the customer's business.
           cross join lateral (
             select * from webhooks.endpoints
             where tenant_id = e.tenant_id and customer is null
             union all
             select * from webhooks.endpoints
             where tenant_id = e.tenant_id and customer = e.customer) as w
           where w.is_active and e.kind <> 'webhook.tested'
             and w.events && string_to_array(e.patterns, ',')
         ), made as (
           insert into webhooks.deliveries
             (tenant_id, id, endpoint_id, event_id, event_type, event_at, created_at)
           select tenant_id, webhooks.delivery_id(id, endpoint_id), endpoint_id, id, kind, at, $6
           from met where filter is null
           on conflict (tenant_id, id) do nothing
           returning tenant_id, id, endpoint_id, turn
         )
         select tenant_id as "tenant_id!", endpoint_id as "endpoint_id!: EndpointId",
           id as "id: DeliveryId", turn, null::bigint as place, null as filter
         from made
         union all
         select tenant_id, endpoint_id, null, null, place, filter from met where filter is not null"#,
        &tenants,
        &ids,
        &kinds as _,
        &patterns,
        ats as _,
        now as _,
        &customers as _,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(met)
}

/// An event that an endpoint's filter lets pass.
type Passed<'a> = (&'a Happened<'a>, EndpointId);

fn pass<'a>(met: &[Met], batch: &'a [Happened<'a>]) -> Vec<Passed<'a>> {
    let mut filters: HashMap<&str, Option<Filter>> = HashMap::new();
    let mut subjects: HashMap<usize, Subject> = HashMap::new();
    let mut passed = Vec::new();
    for one in met {
        let (Some(place), Some(text)) = (one.place, one.filter.as_deref()) else { continue };
        // Counted from 1.
        let at = usize::try_from(place).unwrap_or_default().saturating_sub(1);
        // It was understood when it was set. Should a release read it otherwise, everything passes.
        let filter = filters.entry(text).or_insert_with(|| Filter::parse(text).ok());
        let Some(event) = batch.get(at) else { continue };
        let subject = subjects.entry(at).or_insert_with(|| Subject::of(event.data));
        if filter.as_ref().is_none_or(|filter| filter.passes(subject)) {
            passed.push((event, one.endpoint_id));
        }
    }
    passed
}

async fn deliver(tx: &mut SystemTx, passed: &[Passed<'_>]) -> Result<()> {
    let tenants: Vec<Uuid> = passed.iter().map(|(event, _)| *event.tenant).collect();
    let ids: Vec<Uuid> = passed.iter().map(|(event, _)| *event.id).collect();
    let kinds: Vec<&str> = passed.iter().map(|(event, _)| event.kind).collect();
    let ats: Vec<Timestamp> = passed.iter().map(|(event, _)| event.at).collect();
    let endpoints: Vec<Uuid> = passed.iter().map(|(_, endpoint)| **endpoint).collect();
    let now = tx.real_now();
    let made = sqlx::query!(
        r#"-- tidy: across tenants because a batch holds events of many
         insert into webhooks.deliveries
           (tenant_id, id, endpoint_id, event_id, event_type, event_at, created_at)
         select e.tenant_id, webhooks.delivery_id(e.id, w.id), w.id, e.id, e.kind, e.at, $6
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[])
           as e (tenant_id, id, kind, at, endpoint_id)
         join webhooks.endpoints w on w.tenant_id = e.tenant_id and w.id = e.endpoint_id
         on conflict (tenant_id, id) do nothing
         returning tenant_id, id, endpoint_id, turn"#,
        &tenants,
        &ids,
        &kinds as _,
        ats as _,
        &endpoints,
        now as _,
    )
    .fetch_all(tx.db())
    .await?;
    for row in made {
        enqueue(tx, row.tenant_id, row.id, row.endpoint_id, row.turn)?;
    }
    Ok(())
}

fn enqueue(
    tx: &mut SystemTx,
    tenant: Uuid,
    delivery: DeliveryId,
    endpoint: EndpointId,
    turn: i32,
) -> Result<()> {
    let deliver = Deliver { delivery, endpoint, turn, reason: Reason::Event };
    tx.enqueue(TenantId::from_uuid(tenant), &deliver)
}

/// What an endpoint may have written to get this event: `*`, its name, and `prefix.*` for each
/// prefix.
pub(crate) fn patterns(kind: &str) -> Vec<String> {
    let prefixes = kind.match_indices('.').map(|(at, _)| format!("{}.*", &kind[..at]));
    std::iter::once("*".to_owned())
        .chain(prefixes)
        .chain(std::iter::once(kind.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of how many requests with so many events each the deliveries are made at once.
    fn taken(room: &mut Room, tenant: TenantId, events: usize, requests: usize) -> usize {
        let (at, id) = (Timestamp::from_unix_seconds(0).unwrap(), EventId::new());
        let event = CustomEvent {
            id,
            at,
            kind: "order.paid".to_owned(),
            actor: "system".to_owned(),
            subject: id.to_string(),
            request_id: String::new(),
            data: Value::Null,
            occurred_at: None,
        };
        let events = vec![event; events];
        (0..requests).filter(|_| room.takes(tenant, &events)).count()
    }

    #[test]
    fn a_request_a_tenant_and_a_group_make_so_many_deliveries_at_once_and_no_more() {
        let widths = Widths::default();
        let (wide, narrow) = (TenantId::new(), TenantId::new());
        widths.0.insert(wide, 100);
        widths.0.insert(narrow, 1);
        let mut room = Room::of(widths.clone());
        assert_eq!(taken(&mut room, wide, 1, 512), 2, "of a tenant with a hundred webhooks");
        assert_eq!(taken(&mut room, wide, 2, 1), 0, "a request of its alone is too much");
        assert_eq!(taken(&mut room, narrow, 129, 1), 0);
        assert_eq!(taken(&mut room, narrow, 128, 9), 2);
        let mut room = Room::of(widths);
        // Nobody knows how many webhooks these have.
        let strangers = (0..20).map(|_| taken(&mut room, TenantId::new(), 16, 1));
        assert_eq!(strangers.sum::<usize>(), 8, "1,024 of all");
    }

    #[test]
    fn an_event_is_wanted_under_its_name_its_prefixes_and_the_star() {
        assert_eq!(
            super::patterns("webhook.delivery.failed"),
            ["*", "webhook.*", "webhook.delivery.*", "webhook.delivery.failed"]
        );
        assert_eq!(super::patterns("ping"), ["*", "ping"]);
    }
}
