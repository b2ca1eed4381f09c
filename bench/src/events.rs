//! Events from acceptance to the line in the delivery log, as many as go through for good.

use anyhow::{Result, ensure};

use crate::books::{self, Keeper};
use crate::cpu::Used;
use crate::customers::Customer;
use crate::load::{Amount, Http, Load};
use crate::report::{Figure, Report, Target, progress};
use crate::statements;
use crate::webhooks::Scene;

const BATCH: i64 = 100;
/// A batch is a lot of work; more connections would only make the backlog longer.
pub(crate) const BATCH_CONNECTIONS: u32 = 4;
const BY_HAND: &str = "ceiling D: bare axum + sqlx: insert, signed POST, insert";

struct Row {
    /// What `--only` calls it; the ceiling goes with both.
    asked_by: &'static [&'static str],
    name: &'static str,
    behind: Option<&'static str>,
    keeper: Keeper,
    load: Load,
    connections: u32,
    /// Events in a request.
    events: i64,
    target: Option<Target>,
}

/// What one run of a row came to.
struct Outcome {
    per_second: f64,
    p99_ms: Option<f64>,
    /// From the end of the load to the last line of the log.
    behind: f64,
}

/// Measures them all, in rounds.
pub(crate) async fn measure(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let mut rows = rows(scene).await?;
    rows.retain(|row| row.asked_by.iter().any(|asked| scene.options.wants(asked)));
    progress("warming up: a second of each");
    for row in &rows {
        row.run(scene, 1).await?;
    }
    let mut outcomes: Vec<Vec<Outcome>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 1..=scene.options.rounds {
        for (row, outcomes) in rows.iter().zip(&mut outcomes) {
            progress(&format!("round {round}: {}", row.name));
            outcomes.push(row.run(scene, scene.options.seconds).await?);
        }
    }
    for (row, outcomes) in rows.into_iter().zip(outcomes) {
        let rates = outcomes.iter().map(|outcome| outcome.per_second).collect();
        let p99s = outcomes.iter().filter_map(|outcome| outcome.p99_ms).collect();
        let ceiling = (row.keeper == Keeper::Application).then_some(BY_HAND);
        report.add(Figure::rate(row.name, rates).p99(p99s).beside(ceiling).aim(row.target));
        if let Some(name) = row.behind {
            let behind = outcomes.iter().map(|outcome| outcome.behind).collect();
            report.add(Figure::seconds(name, behind));
        }
    }
    Ok(())
}

impl Row {
    async fn run(&self, scene: &Scene<'_>, seconds: u64) -> Result<Outcome> {
        let Scene { options, place, receiver, .. } = scene;
        receiver.forget().await?;
        if options.statements {
            statements::reset(place).await?;
        }
        let used = || Used::now(place.postmaster()?, receiver.pid());
        let (before, began) = (used()?, books::now()?);
        let amount = Amount { seconds, connections: self.connections };
        let sample = self.load.run(amount).await?;
        let ended = books::now()?;
        let tally = self.keeper.close(&place.superuser_url(), receiver, began).await?;
        let after = used()?;
        let answered = sample.answered.unwrap_or_default() * self.events;
        ensure!(answered > 0, "nothing was answered");
        ensure!(
            tally.taken >= answered,
            "{answered} were accepted, and only these kept: {tally:?}"
        );
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let per_second = tally.logged as f64 / tally.seconds;
        let behind = (tally.last - ended).max(0.0);
        progress(&format!(
            "  {per_second:>7.0}/s through, {:>7.0} requests/s accepted, {behind:.2} s behind",
            sample.per_second,
        ));
        progress(&format!("  each: {}", after.each_since(&before, tally.logged)));
        if options.statements {
            statements::show(place, tally.logged).await?;
        }
        Ok(Outcome { per_second, p99_ms: sample.p99_ms, behind })
    }
}

async fn rows(scene: &Scene<'_>) -> Result<Vec<Row>> {
    let connections = scene.options.connections;
    let one = one();
    let (application, by_hand) = (Keeper::Application, Keeper::ByHand);
    Ok(vec![
        Row {
            asked_by: &["events"],
            name: "events: POST /api/v1/events, fanned out, signed, sent, logged",
            behind: Some("events: behind when the load ends"),
            keeper: application,
            load: load(scene, application, one.clone()).await?,
            connections,
            events: 1,
            target: Some(Target::AtLeast(4_000.0)),
        },
        Row {
            asked_by: &["events", "events-batch"],
            name: BY_HAND,
            behind: None,
            keeper: by_hand,
            load: load(scene, by_hand, one).await?,
            connections,
            events: 1,
            target: None,
        },
        Row {
            asked_by: &["events-batch"],
            name: "events in batches of 100, 4 connections",
            behind: Some("events in batches: behind when the load ends"),
            keeper: application,
            load: load(scene, application, batch()).await?,
            connections: BATCH_CONNECTIONS,
            events: BATCH,
            target: Some(Target::AtLeast(8_000.0)),
        },
    ])
}

/// The body of one event, before and after the id of an order.
pub(crate) fn one() -> (String, String) {
    let (before, after) = (r#"{"type":"order.paid","data":{"orderId":""#, r#"","total":4200}}"#);
    (before.to_owned(), after.to_owned())
}

/// The body of a hundred events, before and after the id of the first order.
pub(crate) fn batch() -> (String, String) {
    let (before, after) = one();
    let other = format!(",{before}A-1001{after}");
    (format!("[{before}"), format!("{after}{}]", other.repeat(99)))
}

/// Such requests of these customers, in turn.
pub(crate) async fn load_of(
    scene: &Scene<'_>,
    customers: &[Customer],
    name: &str,
    body: (String, String),
) -> Result<Load> {
    let lines = customers.iter().map(|customer| format!("/api/v1/events {}\n", customer.key));
    let targets = scene.place.path(name);
    tokio::fs::write(&targets, lines.collect::<String>()).await?;
    let base = format!("http://{}", scene.application.address);
    Ok(Load::Http(Http { base, method: "POST", targets, body: Some(body) }))
}

/// wrk's requests with such a body, from all customers in turn.
pub(crate) async fn load(
    scene: &Scene<'_>,
    keeper: Keeper,
    body: (String, String),
) -> Result<Load> {
    if keeper == Keeper::Application {
        return load_of(scene, &scene.customers, "events.targets", body).await;
    }
    let lines = scene
        .customers
        .iter()
        .map(|customer| format!("/tenants/{}/events\n", customer.tenant.uuid()));
    let targets = scene.place.path("by-hand.targets");
    tokio::fs::write(&targets, lines.collect::<String>()).await?;
    let base = format!("http://{}", scene.by_hand.address);
    Ok(Load::Http(Http { base, method: "POST", targets, body: Some(body) }))
}
