//! `freehold bench jobs`: the job queue by what users take of it, deliveries of webhooks.

use std::time::{Duration, Instant};

use hyper::Method;

use super::events::{Scene, Wave};
use super::report::{Report, Series, Unit};
use super::webhooks::{self, BATCH_CONNECTIONS};
use super::{Options, say_progress};

/// A job that takes longer than this to start is not waiting, it is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// A backlog that is gone before a clock has seen it says nothing about how fast it went.
const DEPTH_MIN: u64 = 100;

const DONE: &str = "events posted in batches: each becomes a job that is enqueued, claimed, run (a \
                    signed request to the receiver) and written down; all of them, over the time \
                    from the first post to the last arrival; posting pauses while 10,000 are on \
                    their way";
const DRAINED: &str = "the jobs that were left when the posting ended, over the time until the last \
                       of them had arrived: what the queue does when it does nothing else";
const LONE: &str = "one job at a time in an idle queue: from asking for it (POST …/test) to its \
                    request having arrived, with enqueueing, COMMIT, claim and start in between";

/// For `--help`.
pub(super) const FIGURES: &[(&str, &str)] = &[
    ("jobs", DONE),
    ("jobs from a backlog alone", DRAINED),
    ("a lone job, asked for to run", LONE),
];

/// Measures, in rounds.
pub(super) async fn measure(
    scene: &Scene,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.note(
        "measured through deliveries of webhooks, which are jobs: every figure holds a request to \
         the receiver; jobs that send nothing are faster",
    );
    let mut done = Series::new("jobs", Unit::PerSecond, DONE);
    let mut drained = Series::new("jobs from a backlog alone", Unit::PerSecond, DRAINED);
    let mut latency = Series::latencies("a lone job, asked for to run", LONE);
    let wave = |kind: &str, round: u32| Wave {
        name: format!("{kind}-{round}"),
        batch: options.receiving.batch,
        connections: options.connections.min(BATCH_CONNECTIONS),
        seconds: options.seconds,
        per_second: None,
    };
    say_progress("warming up");
    scene.run(&Wave { seconds: 1, ..wave("warm-up", 0) }).await?;
    for round in 1..=options.rounds {
        say_progress(&format!("round {round} of {}", options.rounds));
        let outcome = webhooks::run(scene, "jobs", &wave("backlog", round), report).await?;
        done.push(outcome.rate());
        report.count("backlog", outcome.depth);
        if outcome.depth >= DEPTH_MIN {
            #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
            drained.push(outcome.depth as f64 / outcome.behind.as_secs_f64());
        } else {
            report.note("a round left no backlog worth measuring: posting was the slower part");
        }
        let used = scene.installation.used();
        latency.push(lone(scene, Duration::from_secs(options.seconds)).await?);
        report.processor("a lone job", used, scene.installation.used());
    }
    report.add(done);
    report.add(drained);
    report.add_latencies(latency);
    Ok(())
}

/// One job after the other, in all tenants in turn; how long each took to run, in microseconds.
async fn lone(scene: &Scene, time: Duration) -> anyhow::Result<Vec<u32>> {
    let mut callers: Vec<_> =
        (0..scene.webhooks.len()).map(|tenant| (scene.installation.caller(tenant), 0)).collect();
    scene.receiver.take();
    let (began, mut micros) = (Instant::now(), Vec::new());
    for tenant in (0..callers.len()).cycle() {
        if began.elapsed() >= time {
            break;
        }
        let (caller, count) = &mut callers[tenant];
        let path = format!("/api/v1/webhooks/{}/test", scene.webhooks[tenant]);
        let asked = Instant::now();
        caller.call(Method::POST, &path, None).await?;
        *count += 1;
        let arrived = scene.receiver.nth(&format!("/{tenant}"), *count, PATIENCE).await?;
        let took = arrived.saturating_duration_since(asked).as_micros();
        micros.push(u32::try_from(took).unwrap_or(u32::MAX));
    }
    Ok(micros)
}
