//! Load, closed loop (as fast as answers come) and open loop (by the clock, whatever becomes of
//! those before), over connections that are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::limits;
use super::wire::{Address, Ask, Connection, Reply};

/// A load that is refused so often measures refusals.
const FAULTS_MAX: u64 = 1_000;
/// How far apart the clock of the open loop looks: finer than what is measured.
const TICK: Duration = Duration::from_micros(200);
/// How long a load that holds back waits before it looks again.
const REST: Duration = Duration::from_millis(1);
/// How long after its end an open loop may still wait for answers.
const OVERTIME: Duration = Duration::from_secs(60);

/// How much of it.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    pub(super) connections: usize,
    /// Not counted.
    pub(super) warm_up: Duration,
    pub(super) counted: Duration,
}

/// What to send and what to do with what comes back.
pub(super) trait Load: Send + Sync + 'static {
    /// The next request of a connection.
    fn ask(&self, connection: usize, number: u64) -> Ask;

    /// Whether so much is under way that more would only make the measurement longer.
    fn holds_back(&self) -> bool {
        false
    }

    /// A success. `since` is when it was due, which in a closed loop is when it was sent.
    fn heard(&self, _connection: usize, _since: Instant, _reply: &Reply) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Successes within the time that counts.
    pub(super) answered: u64,
    /// How long each of them took, in microseconds.
    pub(super) micros: Vec<u32>,
    /// Everything else, by code, the warm-up included.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Tally {
    fn fault(&mut self, code: String) {
        *self.errors.entry(code).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.micros.extend(other.micros);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }
}

/// What all connections of one load share.
struct Run<L> {
    load: Arc<L>,
    began: Instant,
    counts_from: Instant,
    ends: Instant,
    faults: AtomicU64,
    /// One of them saw 429: what would be measured from here on is the limit.
    limited: AtomicBool,
}

impl<L: Load> Run<L> {
    fn new(load: &Arc<L>, amount: Amount) -> Arc<Self> {
        let began = Instant::now();
        let counts_from = began + amount.warm_up;
        Arc::new(Self {
            load: load.clone(),
            began,
            counts_from,
            ends: counts_from + amount.counted,
            faults: AtomicU64::new(0),
            limited: AtomicBool::new(false),
        })
    }

    fn is_over(&self) -> bool {
        self.limited.load(Ordering::Relaxed) || self.faults.load(Ordering::Relaxed) > FAULTS_MAX
    }

    /// One request; `due` when it should have been sent, if not now.
    async fn one(
        &self,
        connection: &mut Connection,
        (place, number): (usize, u64),
        due: Option<Instant>,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let ask = self.load.ask(place, number);
        let since = due.unwrap_or_else(Instant::now);
        let reply = match connection.send(ask).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, "a request of the load failed");
                self.faults.fetch_add(1, Ordering::Relaxed);
                tally.fault("connection".to_owned());
                return Ok(());
            }
        };
        let now = Instant::now();
        if reply.status.is_success() {
            self.load.heard(place, since, &reply)?;
            // An open loop counts what was due in its time, however late the answer.
            let is_counted = match due {
                Some(due) => due >= self.counts_from,
                None => now >= self.counts_from && now < self.ends,
            };
            if is_counted {
                tally.answered += 1;
                let took = (now - since).as_micros();
                tally.micros.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            return Ok(());
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            self.limited.store(true, Ordering::Relaxed);
            bail!(limits::refusal(&reply));
        }
        tally.fault(code(&reply));
        Ok(())
    }
}

/// What a refusal calls itself; its status, when something in between has answered.
pub(super) fn code(reply: &Reply) -> String {
    let problem: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let code = problem.as_ref().and_then(|problem| problem["code"].as_str());
    code.map_or_else(|| reply.status.as_u16().to_string(), ToOwned::to_owned)
}

/// As fast as answers come.
pub(super) async fn closed<L: Load>(
    address: &Arc<Address>,
    load: &Arc<L>,
    amount: Amount,
) -> anyhow::Result<Tally> {
    let run = Run::new(load, amount);
    let mut workers = JoinSet::new();
    for place in 0..amount.connections {
        let (run, mut connection) = (run.clone(), Connection::new(address));
        workers.spawn(async move {
            let mut tally = Tally::default();
            let mut number = 0;
            while Instant::now() < run.ends && !run.is_over() {
                if run.load.holds_back() {
                    tokio::time::sleep(REST).await;
                    continue;
                }
                run.one(&mut connection, (place, number), None, &mut tally).await?;
                number += 1;
            }
            anyhow::Ok(tally)
        });
    }
    gather(workers, &run).await
}

/// So many a second by the clock. How long each took is counted from when it was due, so that one
/// slow answer does not hide the requests that waited behind it.
pub(super) async fn open<L: Load>(
    address: &Arc<Address>,
    load: &Arc<L>,
    amount: Amount,
    per_second: f64,
) -> anyhow::Result<Tally> {
    let run = Run::new(load, amount);
    let schedule = Arc::new(Schedule {
        began: run.began,
        interval: Duration::from_secs_f64(1.0 / per_second.max(1.0)),
        ends: run.ends,
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
    });
    let mut workers = JoinSet::new();
    for place in 0..amount.connections {
        let (run, schedule) = (run.clone(), schedule.clone());
        let mut connection = Connection::new(address);
        workers.spawn(async move {
            let mut tally = Tally::default();
            while let Some((number, due)) = schedule.take().await {
                if run.is_over() {
                    break;
                }
                run.one(&mut connection, (place, number), Some(due), &mut tally).await?;
            }
            anyhow::Ok(tally)
        });
    }
    let clock = Clock::start(schedule, amount.connections)?;
    let limit = amount.warm_up + amount.counted + OVERTIME;
    let tally = tokio::time::timeout(limit, gather(workers, &run)).await;
    drop(clock);
    tally.context("the installation fell behind the load and did not catch up in a minute")?
}

async fn gather<L: Load>(
    mut workers: JoinSet<anyhow::Result<Tally>>,
    run: &Run<L>,
) -> anyhow::Result<Tally> {
    let mut all = Tally::default();
    while let Some(tally) = workers.join_next().await {
        all.add(tally??);
    }
    if run.faults.load(Ordering::Relaxed) > FAULTS_MAX {
        bail!("more than {FAULTS_MAX} requests failed: {:?}", all.errors);
    }
    Ok(all)
}

/// When each request of an open loop is due.
struct Schedule {
    began: Instant,
    interval: Duration,
    ends: Instant,
    /// One permit for each that is due and that nobody has taken.
    due: Semaphore,
    next: AtomicU64,
}

impl Schedule {
    fn at(&self, number: u64) -> Instant {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.began + self.interval * number
    }

    /// The next one that is due; `None` after the last.
    async fn take(&self) -> Option<(u64, Instant)> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.at(number);
        (due < self.ends).then_some((number, due))
    }
}

/// The thread that lets requests go: timers of the runtime are no finer than a millisecond, which
/// is as much as what is measured.
struct Clock(Arc<Schedule>);

impl Clock {
    fn start(schedule: Arc<Schedule>, connections: usize) -> std::io::Result<Self> {
        let clock = Self(schedule.clone());
        std::thread::Builder::new().name("bench clock".to_owned()).spawn(move || {
            let mut released = 0;
            while schedule.at(released) < schedule.ends && !schedule.due.is_closed() {
                while schedule.at(released) <= Instant::now().min(schedule.ends) {
                    schedule.due.add_permits(1);
                    released += 1;
                }
                std::thread::sleep(TICK);
            }
            // Whoever waits finds that nothing is due any more.
            schedule.due.add_permits(connections);
        })?;
        Ok(clock)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.due.close();
    }
}
