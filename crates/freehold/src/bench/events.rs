//! Events posted, delivered and logged: one load of them from the first post to the last line of
//! the log, counted exactly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::caller::Caller;
use super::cpu::Used;
use super::installation::Installation;
use super::interrupt::Interrupt;
use super::load::{Amount, Load, closed, open};
use super::receiver::{Arrived, Receiver};
use super::wire::{Ask, Reply};
use super::{Options, Receiving};

/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events that were accepted and have not arrived: enough of a backlog to be measured.
const UNDER_WAY_MAX: usize = 10_000;
/// A first request may have to look a name up and agree on TLS.
const TRIAL: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// How often the log is asked why nothing arrives.
const LOOK: Duration = Duration::from_millis(250);
const DATA: &str = r#"{"orderId":"A-1001","total":4200}"#;

/// What sends and what receives.
pub(super) struct Scene {
    pub(super) installation: Arc<Installation>,
    pub(super) receiver: Arc<Receiver>,
    /// One for each tenant, by its place.
    pub(super) webhooks: Vec<String>,
}

/// One load of events.
pub(super) struct Wave {
    /// In their type, so that their log can be told from others'.
    pub(super) name: String,
    /// Events in a request.
    pub(super) batch: usize,
    pub(super) connections: usize,
    pub(super) seconds: u64,
    /// As fast as answers come when absent.
    pub(super) per_second: Option<f64>,
}

/// What became of it.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) accepted: u64,
    pub(super) arrived: u64,
    /// Requests with an id that had come before.
    pub(super) copies: u64,
    /// Lines in the delivery log that say delivered.
    pub(super) logged: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// From the first post to the last first arrival.
    pub(super) through: Duration,
    /// Of that, what came after the last answer.
    pub(super) behind: Duration,
    /// Events that had not arrived when the last answer came.
    pub(super) depth: u64,
    /// From when a post was due to its arrival, in microseconds.
    pub(super) micros: Vec<u32>,
    /// Processor time before the first post and after the last arrival.
    pub(super) used: (Option<Used>, Option<Used>),
}

impl Outcome {
    /// Events a second, from the first post to the last arrival.
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    pub(super) fn rate(&self) -> f64 {
        self.arrived as f64 / self.through.as_secs_f64().max(f64::EPSILON)
    }
}

impl Scene {
    /// Receives, makes a webhook in each tenant, and makes sure that its requests arrive.
    pub(super) async fn prepare(
        installation: &Arc<Installation>,
        options: &Options,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let Receiving { receiver: base, receive_on, .. } = &options.receiving;
        let receiver = Receiver::start(receive_on.unwrap_or(([127, 0, 0, 1], 0).into())).await?;
        let receiver = Arc::new(receiver);
        let base = match base {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", receiver.address),
        };
        let mut scene = Self { installation: installation.clone(), receiver, webhooks: Vec::new() };
        for tenant in 0..installation.tenants.len() {
            interrupt.check()?;
            let (url, events) = (format!("{base}/{tenant}"), scene.kind(tenant, "*"));
            let made = installation.webhook(tenant, &url, &events, true).await;
            scene.webhooks.push(made.map_err(|error| unreachable(&base, &error))?);
        }
        interrupt.or(scene.try_out(&base)).await?;
        Ok(scene)
    }

    /// One request to each, before anything is measured.
    async fn try_out(&self, base: &str) -> anyhow::Result<()> {
        for (tenant, webhook) in self.webhooks.iter().enumerate() {
            let path = format!("/api/v1/webhooks/{webhook}");
            let mut caller = self.installation.caller(tenant);
            caller.call(Method::POST, &format!("{path}/test"), None).await?;
            let (arrival, log) = (format!("/{tenant}"), format!("{path}/deliveries?limit=1"));
            tokio::select! {
                arrived = self.receiver.nth(&arrival, 1, TRIAL) => arrived.map_err(|_| {
                    unreachable(base, &anyhow!("nothing was sent in 20 s; does a node work?"))
                })?,
                why = failure(&mut caller, &log) => {
                    return Err(unreachable(base, &why));
                }
            };
        }
        Ok(())
    }

    fn kind(&self, tenant: usize, last: &str) -> String {
        format!("{}.t{tenant}.{last}", self.installation.name)
    }

    /// Posts, waits until all has arrived and is logged, and counts.
    pub(super) async fn run(&self, wave: &Wave) -> anyhow::Result<Outcome> {
        self.receiver.take();
        let posts = Arc::new(Posts::new(self, wave));
        let amount = Amount {
            connections: wave.connections,
            warm_up: Duration::ZERO,
            counted: Duration::from_secs(wave.seconds),
        };
        let address = &self.installation.address;
        let used = self.installation.used();
        let began = Instant::now();
        let tally = match wave.per_second {
            None => closed(address, &posts, amount).await?,
            Some(rate) => open(address, &posts, amount, rate).await?,
        };
        let answered = Instant::now();
        let accepted = posts.accepted.lock().unwrap_or_else(PoisonError::into_inner).split_off(0);
        if accepted.is_empty() {
            bail!("not one event was accepted: {:?}", tally.errors);
        }
        self.settle(accepted.len()).await;
        let used = (used, self.installation.used());
        let logged = self.logged(&wave.name).await?;
        let mut outcome = compare((began, answered), &accepted, self.receiver.take());
        (outcome.logged, outcome.used) = (logged, used);
        outcome.errors.extend(tally.errors);
        if logged != outcome.accepted {
            outcome.errors.insert("event.not_logged".into(), outcome.accepted.abs_diff(logged));
        }
        Ok(outcome)
    }

    /// Waits until as many have arrived, or nothing arrives any more.
    async fn settle(&self, accepted: usize) {
        let (mut count, mut since) = (self.receiver.count(), Instant::now());
        while count < accepted && since.elapsed() < PATIENCE {
            tokio::time::sleep(POLL).await;
            let now = self.receiver.count();
            if now > count {
                (count, since) = (now, Instant::now());
            }
        }
    }

    /// Waits until nothing is pending, then counts the lines that say delivered.
    async fn logged(&self, name: &str) -> anyhow::Result<u64> {
        let mut counts = JoinSet::new();
        for (tenant, webhook) in self.webhooks.iter().enumerate() {
            let mut caller = self.installation.caller(tenant);
            let kind = self.kind(tenant, name);
            let list = format!("/api/v1/webhooks/{webhook}/deliveries?event={kind}");
            counts.spawn(async move {
                let began = Instant::now();
                let pending = format!("{list}&status=pending&limit=1");
                while caller.get(&pending).await?["data"][0].is_object() {
                    if began.elapsed() > PATIENCE {
                        break;
                    }
                    tokio::time::sleep(POLL).await;
                }
                let delivered = caller.all(&format!("{list}&status=delivered")).await?;
                anyhow::Ok(u64::try_from(delivered.len())?)
            });
        }
        counts.join_all().await.into_iter().sum()
    }
}

/// Ends when the newest line of a delivery log says that a request has failed, and why.
async fn failure(caller: &mut Caller, log: &str) -> anyhow::Error {
    loop {
        match caller.get(log).await {
            Err(error) => return error,
            Ok(log) => {
                if let Some(why) = log["data"][0]["error"].as_str() {
                    return anyhow!("{why}");
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Says how to be reached.
fn unreachable(base: &str, why: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "The installation cannot deliver to {base}: {why:#}\nName a URL under which it reaches this \
         machine with --receiver, and what to listen on with --receive-on. `freehold serve` and \
         `freehold work` send to public https addresses only: put a proxy or a tunnel with TLS in \
         front. `freehold up` also sends to http://127.0.0.1."
    )
}

/// Events, and those of them that were accepted.
struct Posts {
    installation: Arc<Installation>,
    receiver: Arc<Receiver>,
    /// By tenant.
    bodies: Vec<Bytes>,
    /// Id, and when its post was due.
    accepted: Mutex<Vec<(String, Instant)>>,
}

/// One or many, as the API answers it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Taken {
    Many { data: Vec<One> },
    One(One),
}

#[derive(Deserialize)]
struct One {
    id: String,
}

impl Posts {
    fn new(scene: &Scene, wave: &Wave) -> Self {
        let body = |tenant| {
            let kind = json!(scene.kind(tenant, &wave.name));
            let one = format!(r#"{{"type":{kind},"data":{DATA}}}"#);
            match wave.batch {
                1 => Bytes::from(one),
                batch => Bytes::from(format!("[{}]", vec![one; batch].join(","))),
            }
        };
        Self {
            installation: scene.installation.clone(),
            receiver: scene.receiver.clone(),
            bodies: (0..scene.webhooks.len()).map(body).collect(),
            accepted: Mutex::default(),
        }
    }
}

impl Load for Posts {
    fn ask(&self, connection: usize, _: u64) -> Ask {
        Ask {
            method: Method::POST,
            path: "/api/v1/events".to_owned(),
            credential: self.installation.credential(connection),
            body: self.bodies.get(connection % self.bodies.len().max(1)).cloned(),
        }
    }

    /// Batches are accepted several times faster than delivered: unbounded, working them off
    /// would take many times as long as was asked for.
    fn holds_back(&self) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).len();
        accepted > UNDER_WAY_MAX && accepted - UNDER_WAY_MAX > self.receiver.count()
    }

    fn heard(&self, _: usize, since: Instant, reply: &Reply) -> anyhow::Result<()> {
        let taken = serde_json::from_slice(&reply.body).context("an answer without ids")?;
        let ids = match taken {
            Taken::Many { data } => data,
            Taken::One(one) => vec![one],
        };
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.extend(ids.into_iter().map(|one| (one.id, since)));
        Ok(())
    }
}

/// What was accepted beside what has arrived; `answered` is when the last post was.
fn compare(
    (began, answered): (Instant, Instant),
    accepted: &[(String, Instant)],
    mut arrived: Arrived,
) -> Outcome {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let distinct = count(arrived.first.len());
    let mut outcome = Outcome {
        accepted: count(accepted.len()),
        copies: arrived.requests.saturating_sub(distinct),
        ..Outcome::default()
    };
    let mut last = began;
    for (id, since) in accepted {
        let Some(at) = arrived.first.remove(id) else { continue };
        outcome.arrived += 1;
        outcome.depth += u64::from(at > answered);
        last = last.max(at);
        let took = at.saturating_duration_since(*since).as_micros();
        outcome.micros.push(u32::try_from(took).unwrap_or(u32::MAX));
    }
    outcome.through = last - began;
    outcome.behind = last.saturating_duration_since(answered);
    let wrong = [
        ("event.missing", outcome.accepted - outcome.arrived),
        // Taken without an answer that we could read, or somebody else's.
        ("event.unexpected", count(arrived.first.len())),
    ];
    for (code, number) in wrong.into_iter().filter(|(_, number)| *number > 0) {
        outcome.errors.insert(code.to_owned(), number);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_unexpected_or_came_twice_is_counted() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let accepted =
            [("a".to_owned(), began), ("b".to_owned(), after(1)), ("c".to_owned(), began)];
        let first =
            [("a".to_owned(), after(3)), ("b".to_owned(), after(9)), ("x".to_owned(), began)];
        let arrived = Arrived { first: first.into(), requests: 5 };
        let outcome = compare((began, after(5)), &accepted, arrived);
        assert_eq!((outcome.accepted, outcome.arrived, outcome.copies), (3, 2, 2));
        assert_eq!(outcome.errors["event.missing"], 1);
        assert_eq!(outcome.errors["event.unexpected"], 1);
        assert_eq!((outcome.depth, outcome.through.as_millis()), (1, 9));
        assert_eq!((outcome.behind.as_millis(), &*outcome.micros), (4, &[3_000, 8_000][..]));
    }
}
