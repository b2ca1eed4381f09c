//! One job in a transaction of its own, as a request asks for it, beside one INSERT by `pgbench`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_kernel::{App, Duties, TenantId};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::kinds::Nothing;
use super::{TENANTS, start};
use crate::Options;
use crate::load::{Amount, Load, Sql};
use crate::place::Place;
use crate::report::{Figure, Report, Target, progress};

const CEILING: &str = "ceiling E: pgbench, one INSERT in a transaction";
const TABLE: &str = "
create schema if not exists bench;
create table if not exists bench.queued (
  id uuid primary key, kind text not null, tenant_id uuid not null, payload jsonb not null,
  run_at timestamptz not null);
create index if not exists queued_due on bench.queued (tenant_id, kind, run_at, id)";
const INSERT: &str = "insert into bench.queued values (gen_random_uuid(), 'queue.nothing',
  '00000000-0000-7000-8000-000000000001', '{\"number\": 1}', now());\n";

/// Measures it, in rounds.
pub(super) async fn measure(options: &Options, place: &Place, report: &mut Report) -> Result<()> {
    let mut database = PgConnection::connect(&place.superuser_url()).await?;
    sqlx::raw_sql(TABLE).execute(&mut database).await?;
    let script = place.path("queued.sql");
    std::fs::write(&script, INSERT.replace('\n', " "))?;
    let by_hand = Load::Sql(Sql { pgbench: place.pgbench(), url: place.superuser_url(), script });
    let amount = Amount { seconds: options.seconds, connections: options.connections };
    let (mut ours, mut ceilings) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let app = start(place, Duties::Requests).await?;
        ours.push(enqueue(&app, amount).await?);
        app.stop().await;
        ceilings.push(by_hand.run(amount).await?.per_second);
        sqlx::raw_sql("truncate core.jobs, bench.queued").execute(&mut database).await?;
        let (ours, ceiling) = (ours.last().unwrap_or(&0.0), ceilings.last().unwrap_or(&0.0));
        progress(&format!("round {round}: {ours:.0}/s one by one, by hand {ceiling:.0}/s"));
    }
    report.add(
        Figure::rate("jobs: enqueued one by one through Tx", ours)
            .beside(Some(CEILING))
            .aim(Some(Target::WithShare(10_000.0, 0.4))),
    );
    report.add(Figure::rate(CEILING, ceilings));
    Ok(())
}

async fn enqueue(app: &Arc<App>, amount: Amount) -> Result<f64> {
    let tenants: Vec<TenantId> = (0..TENANTS).map(|_| TenantId::new()).collect();
    let (began, time) = (Instant::now(), Duration::from_secs(amount.seconds));
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..amount.connections {
        let (app, next, tenants) = (app.clone(), next.clone(), tenants.clone());
        tasks.spawn(async move {
            while began.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let mut tx = app.tenant_tx(tenants[usize::try_from(number)? % TENANTS]).await?;
                tx.enqueue(&Nothing { number })?;
                tx.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    Ok(next.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}
