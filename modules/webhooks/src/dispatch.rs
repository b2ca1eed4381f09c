//! From events to deliveries: a batch of events becomes one row for each receiver that wants one,
//! and a job for each row.

use freehold_kernel::{Result, StoredEvent, SystemTx, TenantId};

use crate::deliver::Deliver;

/// Handles a batch. Events come at least once; the unique key makes each go to a receiver once.
pub(crate) async fn fan_out(tx: &mut SystemTx, batch: &[StoredEvent]) -> Result<()> {
    let tenants: Vec<uuid::Uuid> = batch.iter().map(|event| *event.tenant).collect();
    let ids: Vec<uuid::Uuid> = batch.iter().map(|event| *event.id).collect();
    let kinds: Vec<String> = batch.iter().map(|event| event.kind.clone()).collect();
    let patterns: Vec<String> = batch.iter().map(|event| patterns(&event.kind)).collect();
    let ats: Vec<freehold_kernel::Timestamp> = batch.iter().map(|event| event.at).collect();
    let now = tx.real_now();
    let rows = sqlx::query!(
        r#"-- tidy: across tenants because a batch holds events of many
         insert into webhooks.deliveries
           (tenant_id, id, endpoint_id, event_id, event_type, event_at, created_at)
         select e.tenant_id, webhooks.delivery_id(e.id, w.id), w.id, e.id, e.kind, e.at, $6
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[])
           as e (tenant_id, id, kind, patterns, at)
         join webhooks.endpoints w on w.tenant_id = e.tenant_id
         where w.is_active and e.kind <> 'webhook.tested'
           and w.events && string_to_array(e.patterns, ',')
         on conflict (tenant_id, id) do nothing
         returning tenant_id, id, endpoint_id, turn"#,
        &tenants,
        &ids,
        &kinds,
        &patterns,
        ats as _,
        now as _,
    )
    .fetch_all(tx.db())
    .await?;
    for row in rows {
        let deliver = Deliver { delivery: row.id, endpoint: row.endpoint_id, turn: row.turn };
        tx.enqueue(TenantId::from_uuid(row.tenant_id), &deliver)?;
    }
    Ok(())
}

/// What an endpoint may have written to get this event: `*`, its name, and `prefix.*` for each
/// prefix.
fn patterns(kind: &str) -> String {
    let prefixes = kind.match_indices('.').map(|(at, _)| format!("{}.*", &kind[..at]));
    std::iter::once("*".to_owned())
        .chain(prefixes)
        .chain(std::iter::once(kind.to_owned()))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_event_is_wanted_under_its_name_its_prefixes_and_the_star() {
        assert_eq!(
            super::patterns("webhook.delivery.failed"),
            "*,webhook.*,webhook.delivery.*,webhook.delivery.failed"
        );
        assert_eq!(super::patterns("ping"), "*,ping");
    }
}
