//! What a deep backlog costs, and a snapshot that somebody holds: the same node runs what comes in,
//! before and while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freehold_kernel::{App, Duties, TenantId};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::kinds::{Nothing, RAN};
use super::{BATCH, TENANTS, drain, fill, start};
use crate::Options;
use crate::place::Place;
use crate::report::{Figure, Report, progress};

/// As many as an outage leaves behind.
const BACKLOG: u64 = 1_000_000;
/// Jobs that run when nothing has piled up.
const FEW: u64 = 50_000;
/// Jobs that may wait while others come in.
const WAITING_MAX: u64 = 10_000;
/// Transactions at once that ask for more.
const FEEDERS: usize = 2;

/// Windows of `--seconds` that make a figure: checkpoints and autovacuum fall into some of them.
const WINDOWS: usize = 8;

/// A backlog, beside few jobs.
pub(super) async fn backlog(options: &Options, place: &Place, report: &mut Report) -> Result<()> {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        for (jobs, rates) in [(FEW, &mut few), (BACKLOG, &mut many)] {
            let asking = start(place, Duties::Requests).await?;
            fill(&asking, jobs, |number| Nothing { number }).await?;
            asking.stop().await;
            rates.push(drain(place, jobs, options.statements).await?);
            progress(&format!(
                "round {round}: {jobs} jobs at {:.0}/s",
                rates.last().unwrap_or(&0.0)
            ));
        }
    }
    let name = "jobs: 50,000 worked off";
    report.add(Figure::rate("jobs: 1,000,000 worked off", many).beside(Some(name)));
    report.add(Figure::rate(name, few));
    Ok(())
}

/// As long as somebody reads a report from the database: the rate before, and towards the end.
pub(super) async fn pinned(options: &Options, place: &Place, report: &mut Report) -> Result<()> {
    let app = start(place, Duties::Everything).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    RAN.store(0, Ordering::Relaxed);
    let mut feeders = JoinSet::new();
    for _ in 0..FEEDERS {
        feeders.spawn(feed(app.clone(), stop.clone(), asked.clone()));
    }
    let window = Duration::from_secs(options.seconds);
    rate(Duration::from_secs(3)).await?;
    let mut before = Vec::new();
    for _ in 0..WINDOWS {
        before.push(rate(window).await?);
    }
    progress(&format!("before: {before:.0?}"));
    let mut reader = PgConnection::connect(&place.superuser_url()).await?;
    let mut snapshot = reader.begin().await?;
    sqlx::raw_sql(
        "set transaction isolation level repeatable read; select count(*) from core.jobs",
    )
    .execute(&mut *snapshot)
    .await?;
    let (held, mut after) = (Instant::now(), Vec::new());
    while held.elapsed() < Duration::from_secs(options.pinned_seconds) || after.len() < WINDOWS {
        let now = rate(window).await?;
        progress(&format!("snapshot held for {} s: {now:.0}/s", held.elapsed().as_secs()));
        after.push(now);
    }
    let after = after.split_off(after.len() - WINDOWS);
    snapshot.rollback().await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = feeders.join_next().await {
        ended??;
    }
    app.drain(std::future::ready(())).await;
    sqlx::raw_sql("truncate core.jobs").execute(&mut reader).await?;
    let name = "jobs: in and run at the same time";
    report.note(&format!("the snapshot was held for {} s", options.pinned_seconds));
    let pinned = "jobs: the same, at the end of a long snapshot";
    report.add(Figure::rate(pinned, after).beside(Some(name)));
    report.add(Figure::rate(name, before));
    Ok(())
}

/// Asks for more whenever little waits.
async fn feed(
    app: Arc<App>,
    stop: Arc<AtomicBool>,
    asked: Arc<std::sync::atomic::AtomicU64>,
) -> Result<()> {
    let tenants: Vec<TenantId> = (0..TENANTS).map(|_| TenantId::new()).collect();
    for tenant in tenants.iter().cycle() {
        while asked.load(Ordering::Relaxed) > RAN.load(Ordering::Relaxed) + WAITING_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut tx = app.tenant_tx(*tenant).await?;
        for number in 0..BATCH as u64 {
            tx.enqueue(&Nothing { number })?;
        }
        tx.commit().await?;
        asked.fetch_add(BATCH as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Runs a second, over a while.
async fn rate(window: Duration) -> Result<f64> {
    let (began, ran) = (Instant::now(), RAN.load(Ordering::Relaxed));
    tokio::time::sleep(window).await;
    let ran = RAN.load(Ordering::Relaxed) - ran;
    ensure!(ran > 0, "nothing ran in {} s", window.as_secs());
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    Ok(ran as f64 / began.elapsed().as_secs_f64())
}
