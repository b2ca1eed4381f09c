//! The job queue by itself, through the kernel's own doors. Beside it, in the same run on the same
//! PostgreSQL, what others wrote.

mod depth;
mod kinds;
mod noise;
mod one;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freehold_identity::Settings;
use freehold_kernel::{App, Duties, Job, Module, TenantId, migrations};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use kinds::{Kept, Nothing, Pause, RAN};

use crate::Options;
use crate::application;
use crate::cpu::Used;
use crate::peers::PEERS;
use crate::place::Place;
use crate::report::{Figure, Report, Target, progress};
use crate::statements;

/// Jobs in one transaction, as peers are measured.
const BATCH: usize = 1_000;
/// Transactions at once when enqueueing in bulk.
const AT_ONCE: usize = 4;
/// Tenants that the jobs belong to in turn.
const TENANTS: usize = 64;
/// Longer without an end is stuck.
const STUCK: Duration = Duration::from_secs(120);

fn modules() -> Vec<Module> {
    let authenticator = Arc::default();
    let identity = freehold_identity::module_with(Settings::default(), authenticator);
    vec![identity, Module::new("queue").job::<Nothing>().job::<Kept>().job::<Pause>()]
}

async fn start(place: &Place, duties: Duties) -> Result<Arc<App>> {
    let mut config = application::config(&place.urls());
    config.duties = duties;
    Ok(App::start(config, modules()).await?)
}

/// What `--only` calls the rows.
pub(crate) const ROWS: [&str; 6] =
    ["jobs", "jobs-peers", "jobs-one", "jobs-backlog", "jobs-pinned", "jobs-noise"];

/// Measures what was asked for.
pub(crate) async fn measure(options: &Options, place: &Place, report: &mut Report) -> Result<()> {
    freehold_kernel::migrate(&place.superuser_url(), &migrations(&modules())).await?;
    if options.wants_any(&["jobs", "jobs-peers"]) {
        rounds(options, place, report).await?;
    }
    if options.wants("jobs-one") {
        one::measure(options, place, report).await?;
    }
    if options.wants("jobs-backlog") {
        depth::backlog(options, place, report).await?;
    }
    if options.wants("jobs-pinned") {
        depth::pinned(options, place, report).await?;
    }
    if options.wants("jobs-noise") {
        noise::measure(options, place, report).await?;
    }
    Ok(())
}

/// In bulk, in rounds, each peer in each of them.
async fn rounds(options: &Options, place: &Place, report: &mut Report) -> Result<()> {
    let (jobs, mut ours, mut theirs) = (options.jobs, Vec::new(), PEERS.map(|_| Vec::new()));
    for round in 1..=options.rounds {
        let here = Round::run(place, jobs, options.statements).await?;
        progress(&format!(
            "round {round}: {:.0}/s enqueued, {:.0}/s run, {:.0}/s run and kept",
            here.enqueued, here.ran, here.kept
        ));
        ours.push(here);
        if options.wants("jobs-peers") {
            for (peer, speeds) in PEERS.iter().zip(&mut theirs) {
                let speed = match peer.measure(place, jobs).await {
                    // Without Node, or where nothing may be installed, the other rows are made still.
                    Err(error) if options.only.is_empty() => {
                        let text = format!("SKIPPED: {}: {error:#}", peer.enqueued);
                        progress(&text);
                        report.note(&text);
                        continue;
                    }
                    speed => speed?,
                };
                let (enqueued, ran) = (speed.enqueue_per_second, speed.run_per_second);
                progress(&format!("  {}: {enqueued:.0}/s, run {ran:.0}/s", peer.enqueued));
                speeds.push(speed);
            }
        }
    }
    let of = |figure: fn(&Round) -> f64| ours.iter().map(figure).collect();
    report.add(
        Figure::rate("jobs: enqueued, 1,000 in a transaction", of(|round| round.enqueued))
            .aim(Some(Target::AtLeast(80_000.0))),
    );
    report.add(
        Figure::rate("jobs: claimed, run, acknowledged", of(|round| round.ran))
            .aim(Some(Target::AtLeast(30_000.0))),
    );
    report.add(Figure::rate("jobs: the same, and kept for a day", of(|round| round.kept)));
    for (peer, speeds) in PEERS.iter().zip(&theirs).filter(|(_, speeds)| !speeds.is_empty()) {
        let enqueued = speeds.iter().map(|speed| speed.enqueue_per_second).collect();
        let ran = speeds.iter().map(|speed| speed.run_per_second).collect();
        report.add(Figure::rate(peer.enqueued, enqueued));
        report.add(Figure::rate(peer.ran, ran));
    }
    Ok(())
}

/// What one round came to, in jobs a second.
struct Round {
    enqueued: f64,
    ran: f64,
    kept: f64,
}

impl Round {
    async fn run(place: &Place, jobs: u64, statements: bool) -> Result<Self> {
        // A node that only answers requests: what it enqueues, others run.
        let asking = start(place, Duties::Requests).await?;
        let enqueued = fill(&asking, jobs, |number| Nothing { number }).await?;
        let ran = drain(place, jobs, statements).await?;
        fill(&asking, jobs, |number| Kept { number }).await?;
        let kept = drain(place, jobs, statements).await?;
        asking.stop().await;
        Ok(Self { enqueued, ran, kept })
    }
}

/// Enqueues so many; how many a second.
async fn fill<J: Job>(
    app: &Arc<App>,
    jobs: u64,
    job: impl Fn(u64) -> J + Copy + Send + 'static,
) -> Result<f64> {
    let tenants: Vec<TenantId> = (0..TENANTS).map(|_| TenantId::new()).collect();
    let next = Arc::new(AtomicU64::new(0));
    let batches = jobs / BATCH as u64;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (app, next, tenants) = (app.clone(), next.clone(), tenants.clone());
        tasks.spawn(async move {
            loop {
                let batch = next.fetch_add(1, Ordering::Relaxed);
                if batch >= batches {
                    return anyhow::Ok(());
                }
                let tenant = tenants[usize::try_from(batch)? % TENANTS];
                let mut tx = app.tenant_tx(tenant).await?;
                for number in 0..BATCH as u64 {
                    tx.enqueue(&job(batch * BATCH as u64 + number))?;
                }
                tx.commit().await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(jobs as f64 / began.elapsed().as_secs_f64())
}

/// Runs what waits; how many a second, from the start of the workers until no job is left.
async fn drain(place: &Place, jobs: u64, statements: bool) -> Result<f64> {
    let mut database = PgConnection::connect(&place.superuser_url()).await?;
    // What autovacuum does a minute later; the peers get it too.
    sqlx::raw_sql("vacuum analyze core.jobs").execute(&mut database).await?;
    RAN.store(0, Ordering::Relaxed);
    if statements {
        statements::reset(place).await?;
    }
    let used = || Used::now(place.postmaster()?, std::process::id());
    let before = used()?;
    let app = start(place, Duties::Work).await?;
    let began = Instant::now();
    loop {
        ensure!(began.elapsed() < STUCK, "{} of {jobs} jobs ran", RAN.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(5)).await;
        if RAN.load(Ordering::Relaxed) < jobs {
            continue;
        }
        let left: i64 =
            sqlx::query_scalar("select count(*) from core.jobs").fetch_one(&mut database).await?;
        if left == 0 {
            break;
        }
    }
    let rate = jobs as f64 / began.elapsed().as_secs_f64();
    progress(&format!("  each: {}", used()?.each_since(&before, i64::try_from(jobs)?)));
    if statements {
        statements::show(place, i64::try_from(jobs)?).await?;
    }
    ensure!(RAN.load(Ordering::Relaxed) == jobs, "a job ran twice");
    app.drain(std::future::ready(())).await;
    Ok(rate)
}
