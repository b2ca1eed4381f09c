//! A tenant that makes nine tenths of the load, and what the others notice of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freehold_kernel::{App, Duties, TenantId};
use tokio::task::JoinSet;

use super::kinds::Pause;
use super::start;
use crate::Options;
use crate::place::Place;
use crate::report::{Figure, Report, percentile, progress};

/// The others, and how often each asks for one job: 200 a second in all.
const OTHERS: usize = 10;
const EVERY: Duration = Duration::from_millis(50);
/// The loud one: 1,800 a second.
const LOUD_BATCH: usize = 90;
/// Jobs that were asked for have begun by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures it, in rounds.
pub(super) async fn measure(options: &Options, place: &Place, report: &mut Report) -> Result<()> {
    let app = start(place, Duties::Everything).await?;
    let time = Duration::from_secs(options.seconds);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    others(&app, Duration::from_secs(1)).await?;
    for round in 1..=options.rounds {
        alone.push(others(&app, time).await?);
        let loud = tokio::spawn(loud(app.clone(), time));
        beside.push(others(&app, time).await?);
        loud.await??;
        let (alone, beside) = (alone.last().unwrap_or(&0.0), beside.last().unwrap_or(&0.0));
        progress(&format!(
            "round {round}: p95 alone {alone:.2} ms, beside the loud {beside:.2} ms"
        ));
    }
    app.drain(std::future::ready(())).await;
    let name = "jobs of ten tenants, asked for to begun, p95";
    report.add(
        Figure::milliseconds("jobs: the same beside 1,800/s of one tenant", beside)
            .beside(Some(name)),
    );
    report.add(Figure::milliseconds(name, alone));
    Ok(())
}

/// The 95th percentile of how long the others' jobs took to begin, in milliseconds.
async fn others(app: &Arc<App>, time: Duration) -> Result<f64> {
    Pause::waited();
    let mut tasks = JoinSet::new();
    for number in 0..OTHERS {
        let (app, tenant) = (app.clone(), TenantId::new());
        tasks.spawn(async move {
            tokio::time::sleep(EVERY * u32::try_from(number)? / u32::try_from(OTHERS)?).await;
            let mut ticks = tokio::time::interval(EVERY);
            let began = Instant::now();
            while began.elapsed() < time {
                ticks.tick().await;
                let mut tx = app.tenant_tx(tenant).await?;
                tx.enqueue(&Pause::timed())?;
                tx.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (ended, mut all) = (Instant::now(), Vec::new());
    loop {
        let (waited, left) = Pause::waited();
        all.extend(waited);
        if left == 0 {
            return Ok(percentile(&all, 95));
        }
        ensure!(ended.elapsed() < PATIENCE, "{left} jobs did not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn loud(app: Arc<App>, time: Duration) -> Result<()> {
    let (tenant, began) = (TenantId::new(), Instant::now());
    let mut ticks = tokio::time::interval(EVERY);
    while began.elapsed() < time {
        ticks.tick().await;
        let mut tx = app.tenant_tx(tenant).await?;
        for _ in 0..LOUD_BATCH {
            tx.enqueue(&Pause { number: None })?;
        }
        tx.commit().await?;
    }
    Ok(())
}
