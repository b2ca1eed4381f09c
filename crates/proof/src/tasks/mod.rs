//! Many tasks on few connections: they work for one tenant and the next in turn, break off wherever
//! they happen to be, run into time limits, fail and panic. Nobody may ever see a row of another
//! tenant, and what was committed must be where it belongs, with its event.
//!
//! The reads say no tenant: whatever a transaction sees, it sees for its setting alone. The table
//! and its routes are those of a module, [`module()`], which the application under proof must have.

mod acts;
mod cut;
mod module;
mod rows;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freehold_kernel::TenantId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use module::module;

use crate::wire::IDLE_MAX;
use crate::{Error, Report, Result, Subject};
use acts::Worker;

/// A tenant, and who asks on its behalf over HTTP.
#[derive(Clone, Debug)]
pub struct Party {
    /// The tenant.
    pub tenant: TenantId,
    /// A token whose holder may `proof_rows:use` in it.
    pub bearer: String,
}

/// How much is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For whom; two at least.
    pub parties: Vec<Party>,
    /// How many tasks at once.
    pub tasks: u64,
    /// How many transactions each of them tries.
    pub rounds: u64,
    /// When they stop in any case.
    pub at_most: Duration,
    /// What decides what each of them does.
    pub seed: u64,
}

/// What was done, and what is wrong.
#[derive(Debug)]
pub struct Outcome {
    /// Transactions tried, and findings.
    pub report: Report,
    /// How often each thing was done.
    pub acts: BTreeMap<&'static str, u64>,
    /// How many rows were read and compared with the tenant they were read for.
    pub rows_seen: u64,
    /// How many requests were answered 503 by a node with too much to do.
    pub turned_away: u64,
    /// How many rows were there in the end.
    pub rows_kept: u64,
    /// The seed, to do it again.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
}

/// What all tasks add to.
#[derive(Default)]
struct Tally {
    acts: BTreeMap<&'static str, u64>,
    seen: u64,
    turned_away: u64,
    /// What the application said it had committed.
    acknowledged: Vec<Uuid>,
    findings: Vec<String>,
}

/// More findings than anybody reads are not kept.
const FINDINGS_MAX: usize = 50;

/// Lets the tasks work, and looks at what is there in the end.
///
/// # Errors
/// When the database does not answer, or fewer than two tenants are named.
pub async fn run(subject: &Subject, plan: &Plan) -> Result<Outcome> {
    if plan.parties.len() < 2 {
        return Err(Error::Missing("two tenants at least must take turns".to_owned()));
    }
    let (began, shared) = (Instant::now(), Arc::new(Mutex::new(Tally::default())));
    let mut tasks = JoinSet::new();
    for number in 0..plan.tasks {
        let worker = Worker {
            subject: subject.clone(),
            parties: plan.parties.clone(),
            http: reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .pool_idle_timeout(IDLE_MAX)
                .build()?,
            rng: StdRng::seed_from_u64(plan.seed.wrapping_add(number)),
            tally: Tally::default(),
            newest: vec![None; plan.parties.len()],
        };
        tasks.spawn(work(worker, number, plan.rounds, began + plan.at_most, shared.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(panic) = ended {
            return Err(Error::Missing(format!("a task of the proof itself has failed: {panic}")));
        }
    }
    let tally = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    let mut findings = tally.findings;
    let rows_kept =
        verdict::look(subject, &plan.parties, &tally.acknowledged, &mut findings).await?;
    Ok(Outcome {
        report: Report { tried: tally.acts.values().sum(), findings, left_out: Vec::new() },
        acts: tally.acts,
        rows_seen: tally.seen,
        turned_away: tally.turned_away,
        rows_kept,
        seed: plan.seed,
        took: began.elapsed(),
    })
}

/// One task: each transaction is for the next tenant.
async fn work(
    mut worker: Worker,
    number: u64,
    rounds: u64,
    until: Instant,
    shared: Arc<Mutex<Tally>>,
) {
    for round in 0..rounds {
        if Instant::now() >= until || worker.tally.findings.len() >= FINDINGS_MAX {
            break;
        }
        let turn = usize::try_from(number + round).unwrap_or_default() % worker.parties.len();
        worker.transact(turn).await;
    }
    let Tally { acts, seen, turned_away, acknowledged, findings } = worker.tally;
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    for (act, times) in acts {
        *shared.acts.entry(act).or_default() += times;
    }
    shared.seen += seen;
    shared.turned_away += turned_away;
    shared.acknowledged.extend(acknowledged);
    let room = FINDINGS_MAX.saturating_sub(shared.findings.len());
    shared.findings.extend(findings.into_iter().take(room));
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { tried, findings, .. } = &self.report;
        writeln!(
            f,
            "tasks: {tried} transactions in {:.1} s, {} rows read, {} rows kept, {} findings (seed {})",
            self.took.as_secs_f64(),
            self.rows_seen,
            self.rows_kept,
            findings.len(),
            self.seed
        )?;
        for (act, times) in &self.acts {
            writeln!(f, "  {times:>8} {act}")?;
        }
        writeln!(f, "  {:>8} requests turned away, 503", self.turned_away)?;
        for finding in findings {
            writeln!(f, "  {finding}")?;
        }
        Ok(())
    }
}
