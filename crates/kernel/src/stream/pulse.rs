//! The pulse of a node: one look a second at everything that may be due, and hints from other nodes
//! in between. What is due wakes whoever serves it; an idle node asks one question a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::job::{Work, interval};
use super::{Lane, claim, dispatch, schedule, worker};
use crate::app::App;
use crate::error::Result;
use crate::tx::SystemTx;

const EVERY: Duration = Duration::from_secs(1);
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Commits within this time become one hint to the other nodes.
const COALESCE: Duration = Duration::from_millis(20);
const CHANNEL: &str = "freehold";

/// Wakes what serves subscribers and lanes on this node.
pub(crate) struct Wakers {
    node: Uuid,
    lanes: [Notify; 3],
    outbox: HashMap<&'static str, Notify>,
    /// Another node committed something.
    hinted: Notify,
    /// This node did.
    to_tell: Notify,
    /// A schedule is due.
    pub(super) schedules: Notify,
    nobody: Notify,
    /// Whether other nodes' hints reach this one at the moment.
    hears: AtomicBool,
}

impl Wakers {
    pub(crate) fn new(subscribers: impl Iterator<Item = &'static str>) -> Self {
        Self {
            node: Uuid::now_v7(),
            lanes: Default::default(),
            outbox: subscribers.map(|name| (name, Notify::new())).collect(),
            hinted: Notify::new(),
            to_tell: Notify::new(),
            schedules: Notify::new(),
            nobody: Notify::new(),
            hears: AtomicBool::new(false),
        }
    }

    pub(crate) fn lane(&self, lane: Lane) -> &Notify {
        &self.lanes[lane.index()]
    }

    pub(crate) fn outbox(&self, subscriber: &str) -> &Notify {
        self.outbox.get(subscriber).unwrap_or(&self.nobody)
    }

    /// Whether other nodes' hints reach this one; if not, it finds their work within a second.
    pub(crate) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    /// This node should look.
    pub(crate) fn look(&self) {
        self.hinted.notify_one();
    }

    /// Other nodes should look.
    pub(crate) fn tell(&self) {
        self.to_tell.notify_one();
    }
}

/// Starts what this node does about events, jobs and schedules: tells others at least, and hears of
/// changes.
pub(crate) fn run(app: &Arc<App>) {
    app.run(beat(app.clone()));
    app.run(listen(app.clone()));
    app.run(tell(app.clone()));
    if !app.config().duties.works() {
        return;
    }
    for subscriber in app.subscribers() {
        app.run(dispatch::serve(app.clone(), *subscriber));
    }
    for kind in app.job_kinds() {
        if let Work::Together(pipeline) = &kind.work
            && let Some(serve) = pipeline.take()
        {
            app.run(serve(app.clone()));
        }
    }
    for lane in Lane::ALL {
        app.run(worker::work(app.clone(), lane));
    }
    app.run(schedule::serve(app.clone()));
    app.run(renew(app.clone()));
}

async fn beat(app: Arc<App>) {
    while let Err(error) = schedule::register(&app).await {
        tracing::warn!(%error, "schedules could not be registered yet");
        tokio::time::sleep(EVERY).await;
    }
    loop {
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "what is due could not be read");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.wakers().hinted.notified() => {}
        }
    }
}

/// One question about everything, then a wake-up for each answer. What is due is compared with
/// `statement_timestamp()`: no index serves a comparison with `clock_timestamp()`, which is volatile.
async fn look(app: &Arc<App>) -> Result<()> {
    let subscribers: Vec<String> = app.subscribers().iter().map(|s| s.name.to_owned()).collect();
    let schedules: Vec<String> = app.schedules().iter().map(|s| s.name.to_owned()).collect();
    let kinds: Vec<String> = app.job_kinds().map(|kind| kind.name.to_owned()).collect();
    let (now, window) = (Instant::now(), app.changes().window());
    let mut tx = SystemTx::begin(app.origin()).await?;
    let clocks = app.clocks().any();
    if clocks {
        crate::clocks::release_due(&mut tx).await?;
    }
    let due = sqlx::query!(
        r#"select
           exists (select from core.jobs where lane = 0 and claim is null and run_at <= statement_timestamp() and kind = any($3)) as "transactional!",
           exists (select from core.jobs where lane = 1 and claim is null and run_at <= statement_timestamp() and kind = any($3)) as "standard!",
           exists (select from core.jobs where lane = 2 and claim is null and run_at <= statement_timestamp() and kind = any($3)) as "bulk!",
           exists (select from core.jobs where claim is not null and lease_until < statement_timestamp()) as "lost!",
           exists (select from core.schedules where name = any($2) and next_at <= statement_timestamp()) as "schedules!",
           exists (select from core.changes where at > statement_timestamp() - $4::interval) as "changes!",
           array(select s from unnest($1::text[]) as s where exists (
             select from core.outbox o where o.subscriber = s and o.due_at <= statement_timestamp())) as "outbox!""#,
        &subscribers,
        &schedules,
        &kinds,
        interval(window),
    )
    .fetch_one(tx.db())
    .await?;
    if clocks {
        tx.commit().await?;
    } else {
        drop(tx);
    }
    let lanes = [due.transactional, due.standard, due.bulk];
    for (lane, _) in Lane::ALL.into_iter().zip(lanes).filter(|(_, due)| *due) {
        app.wakers().lane(lane).notify_one();
    }
    for subscriber in &due.outbox {
        app.wakers().outbox(subscriber).notify_one();
    }
    if due.changes {
        app.changes().look();
    } else {
        app.changes().knew(now);
    }
    if due.schedules {
        app.wakers().schedules.notify_one();
    }
    if due.lost {
        claim::reclaim(app).await?;
    }
    Ok(())
}

/// Hears other nodes' hints. Until the connection is there (again), the look serves.
async fn listen(app: Arc<App>) {
    let own = app.wakers().node.to_string();
    loop {
        match app.database().listen(CHANNEL).await {
            Ok(None) => return,
            Ok(Some(mut listener)) => {
                app.wakers().hears.store(true, Ordering::Relaxed);
                while let Ok(Some(hint)) = listener.try_recv().await {
                    if hint.payload() != own {
                        app.wakers().hinted.notify_one();
                    }
                }
                app.wakers().hears.store(false, Ordering::Relaxed);
            }
            Err(error) => tracing::debug!(%error, "cannot listen for other nodes yet"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Tells other nodes, after the commit and outside of it, a few times a second at the most.
async fn tell(app: Arc<App>) {
    let own = app.wakers().node;
    loop {
        app.wakers().to_tell.notified().await;
        tokio::time::sleep(COALESCE).await;
        if let Err(error) = app.database().notify(CHANNEL, own).await {
            tracing::debug!(%error, "other nodes were not woken; they look within a second");
        }
    }
}

async fn renew(app: Arc<App>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Err(error) = claim::renew_leases(&app).await {
            tracing::warn!(%error, "leases could not be renewed");
        }
    }
}
