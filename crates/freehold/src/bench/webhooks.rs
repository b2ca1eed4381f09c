//! `freehold bench webhooks`: events posted, delivered to a receiver of ours, and logged.

use super::events::{Outcome, Scene, Wave};
use super::report::{Report, Series, Unit};
use super::{Options, say_progress};

/// A batch is a lot of work; more connections would only make the backlog longer.
pub(super) const BATCH_CONNECTIONS: usize = 4;
/// A rate that leaves room, so that what is measured is the way and not the queue.
const PACE: f64 = 100.0;

const SINGLE: &str = "POST /api/v1/events, one event each, as fast as answers come: all that was \
                      accepted, over the time from the first post to the last arrival";
const BATCH: &str = "the same with --batch events in a request, on at most 4 connections; posting \
                     pauses while 10,000 are on their way";
const BEHIND: &str = "from the last answer to the last arrival: near 0, or the rate is one that \
                      leaves a backlog behind";
const PACED: &str = "one event each at 100 a second by the clock: from when a post was due to the \
                     receiver having it";

/// For `--help`.
pub(super) const FIGURES: &[(&str, &str)] = &[
    ("events", SINGLE),
    ("events, N in a request", BATCH),
    ("behind", BEHIND),
    ("post to receiver at 100/s", PACED),
];

/// Measures, in rounds.
pub(super) async fn measure(
    scene: &Scene,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let batch = options.receiving.batch;
    let mut single = (
        Series::new("events", Unit::PerSecond, SINGLE),
        Series::new("events, behind", Unit::Seconds, BEHIND),
    );
    let mut batches = (
        Series::new(&format!("events, {batch} in a request"), Unit::PerSecond, BATCH),
        Series::new(&format!("events, {batch} in a request, behind"), Unit::Seconds, BEHIND),
    );
    let mut latency = Series::latencies("post to receiver at 100/s", PACED);
    let wave = |kind: &str, round: u32| Wave {
        name: format!("{kind}-{round}"),
        batch: 1,
        connections: options.connections,
        seconds: options.seconds,
        per_second: None,
    };
    say_progress("warming up");
    scene.run(&Wave { seconds: 1, ..wave("warm-up", 0) }).await?;
    for round in 1..=options.rounds {
        say_progress(&format!("round {round} of {}", options.rounds));
        let outcome = run(scene, "events", &wave("single", round), report).await?;
        single.0.push(outcome.rate());
        single.1.push(outcome.behind.as_secs_f64());

        let connections = options.connections.min(BATCH_CONNECTIONS);
        let many = Wave { batch, connections, ..wave("batch", round) };
        let outcome = run(scene, "events in batches", &many, report).await?;
        batches.0.push(outcome.rate());
        batches.1.push(outcome.behind.as_secs_f64());

        let paced = Wave { per_second: Some(PACE), ..wave("paced", round) };
        let outcome = run(scene, "events at 100/s", &paced, report).await?;
        latency.push(outcome.micros);
    }
    [single.0, single.1, batches.0, batches.1].into_iter().for_each(|series| report.add(series));
    report.add_latencies(latency);
    Ok(())
}

/// One wave, with its part of the report that is the same for all.
pub(super) async fn run(
    scene: &Scene,
    part: &'static str,
    wave: &Wave,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let mut outcome = scene.run(wave).await?;
    report.processor(part, outcome.used.0, outcome.used.1);
    report.errors(std::mem::take(&mut outcome.errors));
    report.count("accepted", outcome.accepted);
    report.count("arrived", outcome.arrived);
    report.count("copies", outcome.copies);
    report.count("logged", outcome.logged);
    Ok(outcome)
}
