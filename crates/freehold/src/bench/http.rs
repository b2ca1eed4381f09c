//! `freehold bench http`: reads, audited writes, and what reads take at half the rate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use super::installation::Installation;
use super::interrupt::Interrupt;
use super::load::{Amount, Load, closed, open};
use super::report::{Report, Series, Unit};
use super::wire::Ask;
use super::{Options, say_progress};

/// Not counted: connections are opened, caches are filled.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);
/// Nobody listens there, and nothing is sent: the webhooks that are changed are switched off.
const NOWHERE: &str = "https://bench.example.org/";

const READS: &str = "GET /api/v1/tenant under an API key, as fast as answers come: key, limits, a \
                     transaction under row-level security, one row";
const WRITES: &str = "PATCH of a webhook that is switched off, as fast as answers come: the row, \
                      its sealed record in the audit log, its event, COMMIT";
const PACED: &str = "the same reads at half that rate by the clock: from when a request was due to \
                     the end of its answer";

/// For `--help`.
pub(super) const FIGURES: &[(&str, &str)] = &[
    ("authenticated reads", READS),
    ("audited writes", WRITES),
    ("reads at half that rate", PACED),
];

/// Authenticated reads.
struct Reads(Arc<Installation>);

impl Load for Reads {
    fn ask(&self, connection: usize, _: u64) -> Ask {
        Ask {
            method: Method::GET,
            path: "/api/v1/tenant".to_owned(),
            credential: self.0.credential(connection),
            body: None,
        }
    }
}

/// Changes to webhooks, one for each connection so that none waits for another's row.
pub(super) struct Writes {
    installation: Arc<Installation>,
    webhooks: Vec<String>,
}

impl Load for Writes {
    fn ask(&self, connection: usize, number: u64) -> Ask {
        let webhook = &self.webhooks[connection % self.webhooks.len()];
        let body = format!(r#"{{"events":["{}.{number}"]}}"#, self.installation.name);
        Ask {
            method: Method::PATCH,
            path: format!("/api/v1/webhooks/{webhook}"),
            credential: self.installation.credential(connection),
            body: Some(Bytes::from(body)),
        }
    }
}

/// Makes what is changed.
pub(super) async fn prepare(
    installation: &Arc<Installation>,
    options: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<Writes> {
    let mut webhooks = Vec::new();
    for connection in 0..options.connections {
        interrupt.check()?;
        let events = format!("{}.0", installation.name);
        webhooks.push(installation.webhook(connection, NOWHERE, &events, false).await?);
    }
    Ok(Writes { installation: installation.clone(), webhooks })
}

/// Measures, in rounds.
pub(super) async fn measure(
    installation: &Arc<Installation>,
    options: &Options,
    writes: Writes,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (reads, writes) = (Arc::new(Reads(installation.clone())), Arc::new(writes));
    let address = &installation.address;
    let amount = Amount {
        connections: options.connections,
        warm_up: WARM_UP,
        counted: Duration::from_secs(options.seconds),
    };
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = |answered: u64| answered as f64 / amount.counted.as_secs_f64();
    let mut read_rates = Series::new("authenticated reads", Unit::PerSecond, READS);
    let mut write_rates = Series::new("audited writes", Unit::PerSecond, WRITES);
    let mut latency = Series::latencies("reads at half that rate", PACED);
    for round in 1..=options.rounds {
        say_progress(&format!("round {round} of {}", options.rounds));
        let used = installation.used();
        let tally = closed(address, &reads, amount).await?;
        let read = rate(tally.answered);
        read_rates.push(read);
        report.processor("authenticated reads", used, installation.used());
        report.errors(tally.errors);
        report.count("reads", tally.answered);

        let used = installation.used();
        let tally = closed(address, &writes, amount).await?;
        write_rates.push(rate(tally.answered));
        report.processor("audited writes", used, installation.used());
        report.errors(tally.errors);
        report.count("writes", tally.answered);

        let used = installation.used();
        let tally = open(address, &reads, amount, read / 2.0).await?;
        latency.push(tally.micros);
        report.processor("reads at half that rate", used, installation.used());
        report.errors(tally.errors);
        report.count("paced", tally.answered);
    }
    report.add(read_rates);
    report.add(write_rates);
    report.add_latencies(latency);
    Ok(())
}
