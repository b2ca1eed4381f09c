//! The parts of the proof, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use freehold_egress::{Egress, Options, Policy};
use freehold_kernel::{Module, TenantId, migrations};
use freehold_proof::mutants::{Guards, Original, SchemaMutant, Score};
use freehold_proof::tasks::{self, Party};
use freehold_proof::{Subject, mutants, routes, tables};
use serde_json::Value;
use sqlx::{Executor, Row};

use super::report::{Part, Report};
use super::running::{Running, Secret};
use super::scratch::{Scratch, Urls};
use crate::modules;
use crate::prove::life::{self, Life};
use crate::prove::principals;

const TASKS: u64 = 64;
/// Handlers of the proof's own wait for longer than this on purpose.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a hundred mutants, at least so many must be noticed.
const KILLED_AT_LEAST: usize = 95;

const QUICK_CALLERS: [&str; 2] = ["owner", "anonymous"];
const QUICK_MUTANTS: usize = 4;
const QUICK_SECONDS: u64 = 3;

/// How much is to be done.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) seconds: u64,
    pub(super) seed: u64,
    pub(super) quick: bool,
}

/// Everything. The report says what came of it.
pub(super) async fn all(
    scratch: Arc<Scratch>,
    plan: Plan,
    report: Arc<Report>,
) -> anyhow::Result<()> {
    let (urls, secret) =
        (scratch.database("life", &migrations(&every_module()?)).await?, Secret::new()?);
    let running = Box::pin(Running::start(&urls, &secret, every_module()?, None)).await?;
    let acme = Box::pin(life::live(&running.subject, "Acme")).await?;
    let umbrella = Box::pin(life::live(&running.subject, "Umbrella")).await?;
    timed(&report, catalogue(&running.subject)).await?;
    timed(&report, table_sweep(&running.subject, &acme, &umbrella)).await?;
    timed(&report, weakened(&scratch, running.stop().await?, plan, (acme.tenant, umbrella.tenant)))
        .await?;
    let running = Box::pin(Running::start(&urls, &secret, every_module()?, None)).await?;
    timed(&report, route_sweep(&running.subject, plan)).await?;
    running.stop().await?.superuser.close().await;
    timed(&report, many_tasks(&scratch, &secret, plan)).await
}

async fn timed(
    report: &Report,
    part: impl Future<Output = anyhow::Result<Part>>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let part = Box::pin(part).await?;
    report.add(part, began.elapsed());
    Ok(())
}

/// What the binary serves. Webhooks go to receivers on this machine.
fn every_module() -> anyhow::Result<Vec<Module>> {
    let egress = Egress::new(Options { policy: Policy::development(), ..Options::default() })?;
    Ok(modules(Default::default(), egress))
}

async fn catalogue(subject: &Subject) -> anyhow::Result<Part> {
    let query = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where c.relkind in ('r', 'p') and pg_get_userbyid(n.nspowner) = 'freehold_owner'";
    let tables: i64 = subject.superuser.fetch_one(query).await?.try_get(0)?;
    let findings = tables::catalogue(subject).await?;
    let tried = u64::try_from(tables)?;
    Ok(Part { name: "catalogue", tried, unit: "tables", findings, left_out: Vec::new() })
}

async fn table_sweep(subject: &Subject, acme: &Life, umbrella: &Life) -> anyhow::Result<Part> {
    let mut swept = tables::sweep(subject, acme.tenant, umbrella.tenant).await?;
    let back = tables::sweep(subject, umbrella.tenant, acme.tenant).await?;
    swept.tried += back.tried;
    swept.findings.extend(back.findings);
    Ok(part("tables", "statements", swept))
}

/// Between two more tenants: the tokens of the first may be over when all mutants have been tried.
async fn route_sweep(subject: &Subject, plan: Plan) -> anyhow::Result<Part> {
    let own = Box::pin(life::live(subject, "Initech")).await?;
    let other = Box::pin(life::live(subject, "Hooli")).await?;
    let mut cast = principals::cast(subject, &own, &other).await?;
    let kinds = cast.callers.len();
    if plan.quick {
        cast.callers.retain(|caller| QUICK_CALLERS.contains(&caller.name));
    }
    let mut swept = routes::sweep(subject, &cast).await?;
    let absent = kinds - cast.callers.len();
    if absent > 0 {
        swept.left_out.push(format!("{absent} of {kinds} kinds of callers (--quick)"));
    }
    Ok(part("routes", "requests", swept))
}

/// The schema weakened in one place at a time, in copies: the checks must notice.
async fn weakened(
    scratch: &Scratch,
    subject: Subject,
    plan: Plan,
    tenants: (TenantId, TenantId),
) -> anyhow::Result<Part> {
    let all = mutants::schema_mutants(&subject.superuser).await?;
    let count = all.len();
    let chosen = if plan.quick { sample(all, plan.seed) } else { all };
    let mut left_out = Vec::new();
    if chosen.len() < count {
        left_out
            .push(format!("{} of {count} mutants of the schema (--quick)", count - chosen.len()));
    }
    let original = Original::of(&subject).await?;
    // Modules that could be made a moment ago can be made again.
    let modules = || every_module().unwrap_or_default();
    let guards = Guards::over(&original, &modules, tenants).await?;
    let mut score = Score::default();
    for mutant in &chosen {
        let name = format!("{} ({})", mutant.kind, mutant.subject);
        score.add(name, guards.notice(mutant).await?);
    }
    if !scratch.is_private() {
        left_out.push("logins that must be refused: their roles would be this server's".to_owned());
    } else if !plan.quick {
        for mutant in mutants::login_mutants() {
            score.add(mutant.name.to_owned(), guards.notice_login(&mutant).await?);
        }
    }
    let unnoticed =
        |name: &String| format!("nothing notices this: {name}; add a rule to the catalogue");
    let enough = score.reaches(KILLED_AT_LEAST);
    let survivors = score.survivors.iter().map(unnoticed);
    let (findings, tolerated) =
        if enough { (Vec::new(), survivors.collect()) } else { (survivors.collect(), Vec::new()) };
    left_out.extend::<Vec<String>>(tolerated);
    Ok(Part {
        name: "mutants",
        tried: u64::try_from(score.all())?,
        unit: "mutants",
        findings,
        left_out,
    })
}

/// Different kinds, beginning where the seed says.
fn sample(mutants: Vec<SchemaMutant>, seed: u64) -> Vec<SchemaMutant> {
    let mut kinds: Vec<SchemaMutant> = Vec::new();
    let start = usize::try_from(seed).unwrap_or_default() % mutants.len().max(1);
    let mut mutants = mutants;
    mutants.rotate_left(start);
    for mutant in mutants {
        if kinds.len() < QUICK_MUTANTS && kinds.iter().all(|known| known.kind != mutant.kind) {
            kinds.push(mutant);
        }
    }
    kinds
}

/// Many tasks on few connections, in a database of their own: their routes break off on purpose.
async fn many_tasks(scratch: &Scratch, secret: &Secret, plan: Plan) -> anyhow::Result<Part> {
    let modules = || -> anyhow::Result<Vec<Module>> {
        Ok(every_module()?.into_iter().chain([tasks::module()]).collect())
    };
    let urls: Urls = scratch.database("tasks", &migrations(&modules()?)).await?;
    let running = Running::start(&urls, secret, modules()?, Some(PATIENCE)).await?;
    let mut parties = Vec::new();
    for name in ["Acme", "Umbrella", "Initech"] {
        parties.push(party(&life::register(&running.subject, name).await?)?);
    }
    let seconds = if plan.quick { QUICK_SECONDS } else { plan.seconds };
    let at_most = Duration::from_secs(seconds);
    let plan = tasks::Plan { parties, tasks: TASKS, rounds: u64::MAX, at_most, seed: plan.seed };
    let outcome = tasks::run(&running.subject, &plan).await?;
    running.stop().await?.superuser.close().await;
    Ok(part("tasks", "transactions", outcome.report))
}

fn party(registered: &Value) -> anyhow::Result<Party> {
    let text = |pointer: &str| {
        let text = registered.pointer(pointer).and_then(Value::as_str);
        text.ok_or_else(|| anyhow!("the answer to a registration has no {pointer}"))
    };
    Ok(Party { tenant: text("/tenant/id")?.parse()?, bearer: text("/accessToken")?.to_owned() })
}

fn part(name: &'static str, unit: &'static str, report: freehold_proof::Report) -> Part {
    let freehold_proof::Report { tried, findings, left_out } = report;
    Part { name, tried, unit, findings, left_out }
}
