//! The pulse of a node: one look a second at everything that may be due, and hints from other nodes
//! in between. What is due wakes whoever serves it; an idle node asks one question a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::depth::{Depth, Reach};
use super::{dispatch, schedule};
use crate::app::App;
use crate::error::Result;
use crate::queue::job::interval;
use crate::queue::{self, Lane};
use crate::tx::SystemTx;

pub(super) const EVERY: Duration = Duration::from_secs(1);
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
    /// A shard of keys is nobody's.
    pub(crate) shards: Notify,
    /// A job that waits was cancelled.
    pub(crate) cancelled: Notify,
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
            shards: Notify::new(),
            cancelled: Notify::new(),
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

    /// The same at once: this node is about to stop.
    pub(crate) async fn tell_now(&self, app: &App) {
        if let Err(error) = app.database().notify(CHANNEL, self.node).await {
            tracing::debug!(%error, "other nodes were not woken; they look within a second");
        }
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
    queue::run(app);
    app.run(schedule::serve(app.clone()));
}

async fn beat(app: Arc<App>) {
    while let Err(error) = schedule::register(&app).await {
        tracing::warn!(%error, "schedules could not be registered yet");
        tokio::time::sleep(EVERY).await;
    }
    let depth = Arc::new(Depth::default());
    loop {
        let (mut reach, slow) =
            if app.takes_jobs() { depth.next() } else { (Reach::NoJobs, false) };
        if reach == Reach::All && slow {
            let (here, depth) = (app.clone(), depth.clone());
            app.run_job(async move {
                depth.spend(reach, look(&here, reach)).await;
            });
            reach = Reach::NoJobs;
        }
        let next = depth.spend(reach, look(&app, reach)).await;
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = app.wakers().hinted.notified() => {}
        }
    }
}

/// What a look finds.
struct Due {
    transactional: bool,
    standard: bool,
    bulk: bool,
    /// Seconds until the first delayed job is due, if that is soon.
    delayed: Option<f64>,
    cancelled: bool,
    shards: bool,
    lost: bool,
    schedules: bool,
    changes: bool,
    outbox: Vec<String>,
}

/// One question about everything, then a wake-up for each answer; says when to ask again.
async fn look(app: &Arc<App>, reach: Reach) -> Result<Duration> {
    let now = Instant::now();
    let mut tx = SystemTx::begin(app.origin()).await?;
    let clocks = app.clocks().any();
    if clocks {
        crate::clocks::release_due(&mut tx).await?;
    }
    let due = ask(app, &mut tx, reach).await?;
    let is_due = due.delayed.is_some_and(|seconds| seconds <= 0.0);
    let mut came = match reach {
        Reach::New(back) => queue::asked_for_lately(&mut tx, back).await?,
        Reach::All | Reach::NoJobs => Vec::new(),
    };
    let mut more = false;
    if is_due {
        let (promoted, are_more) = queue::promote(&mut tx, reach.back()).await?;
        came.extend(promoted);
        more = are_more;
    }
    if clocks || is_due {
        tx.commit().await?;
    } else {
        drop(tx);
    }
    queue::came(app, came);
    wake(app, &due, now);
    if due.lost {
        queue::reclaim(app).await?;
    }
    Ok(match due.delayed {
        Some(_) if more => Duration::ZERO,
        Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(EVERY),
        _ => EVERY,
    })
}

/// Whether something waits is asked when the whole queue is looked at. What is due is compared with `statement_timestamp()`: no
/// index serves a comparison with `clock_timestamp()`, which is volatile.
async fn ask(app: &App, tx: &mut SystemTx, reach: Reach) -> Result<Due> {
    let subscribers: Vec<String> = app.subscribers().iter().map(|s| s.name.to_owned()).collect();
    let schedules: Vec<String> = app.schedules().iter().map(|s| s.name.to_owned()).collect();
    let due = sqlx::query_as!(
        Due,
        r#"select
           $3 and exists (select from core.jobs where lane = 0 and state = 'waiting') as "transactional!",
           $3 and exists (select from core.jobs where lane = 1 and state = 'waiting') as "standard!",
           $3 and exists (select from core.jobs where lane = 2 and state = 'waiting') as "bulk!",
           case when $3 or $6 then (
             select greatest(0, extract(epoch from run_at - statement_timestamp()))::float8 from core.jobs
             where state = 'delayed' and run_at <= statement_timestamp() + interval '1 s'
               and run_at > coalesce(statement_timestamp() - $7::interval, '-infinity')
             order by run_at, id limit 1) end as delayed,
           $3 and exists (select from core.jobs where cancelled_by is not null and state <> 'active')
             as "cancelled!",
           $3 and exists (select from core.job_shards where node is null) as "shards!",
           $3 and exists (select from core.nodes n
             where n.gone_at is null and n.lease_until < statement_timestamp()
               or n.gone_at is not null
                 and exists (select from core.jobs j where j.state = 'active' and j.node = n.id)) as "lost!",
           exists (select from core.schedules where name = any($2) and next_at <= statement_timestamp()) as "schedules!",
           exists (select from core.changes
             where at > statement_timestamp() - $4::interval and id <> all($5)) as "changes!",
           array(select s from unnest($1::text[]) as s where exists (
             select from core.outbox o where o.subscriber = s and o.due_at <= statement_timestamp())) as "outbox!""#,
        &subscribers,
        &schedules,
        matches!(reach, Reach::All),
        interval(app.changes().window()),
        &app.changes().acted_on(),
        matches!(reach, Reach::New(_)),
        reach.back().map(interval) as _,
    )
    .fetch_one(tx.db())
    .await?;
    Ok(due)
}

/// `asked`: when the question was put.
fn wake(app: &Arc<App>, due: &Due, asked: Instant) {
    let lanes = [due.transactional, due.standard, due.bulk];
    for (lane, _) in Lane::ALL.into_iter().zip(lanes).filter(|(_, due)| *due) {
        app.queue().sweep_lane(app, lane);
    }
    for subscriber in &due.outbox {
        app.wakers().outbox(subscriber).notify_one();
    }
    if due.changes {
        app.changes().look();
    } else {
        app.changes().knew(asked);
    }
    let wakers = app.wakers();
    let others = [
        (due.schedules, &wakers.schedules),
        (due.shards, &wakers.shards),
        (due.cancelled, &wakers.cancelled),
    ];
    others.iter().filter(|(due, _)| *due).for_each(|(_, waker)| waker.notify_one());
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
