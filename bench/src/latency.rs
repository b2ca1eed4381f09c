//! From sending an event to its receiver having it, at a rate that leaves room.

use anyhow::Result;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::books::{self, Keeper};
use crate::open_loop::{self, Letter, Times};
use crate::report::{Figure, Report, Target, percentile, progress};
use crate::webhooks::Scene;

/// A rate that leaves room.
pub(crate) const PER_SECOND: u32 = 100;
const BODY: &str = r#"{"type":"order.paid","data":{"orderId":"A-1001","total":4200}}"#;

/// 70 % of the rate that is to be sustained.
const BUSY_PER_SECOND: u32 = 2_800;

/// Who gets how many, and what its figures are called.
struct Row {
    keeper: Keeper,
    per_second: u32,
    received: &'static str,
    accepted: &'static str,
    /// Of the first, and of the second figure.
    targets: [Option<Target>; 2],
}

const ROWS: [Row; 3] = [
    Row {
        keeper: Keeper::Application,
        per_second: PER_SECOND,
        received: "event at 100/s: from post to receiver",
        accepted: "event at 100/s: accepted",
        targets: [Some(Target::AtMost(2.0, 4.0)), None],
    },
    Row {
        keeper: Keeper::ByHand,
        per_second: PER_SECOND,
        received: "ceiling D at 100/s: from post to receiver",
        accepted: "ceiling D at 100/s: accepted",
        targets: [None, None],
    },
    Row {
        keeper: Keeper::Application,
        per_second: BUSY_PER_SECOND,
        received: "event at 2,800/s: from post to receiver",
        accepted: "event at 2,800/s: accepted",
        targets: [None, Some(Target::AtMost(25.0, 25.0))],
    },
];

/// Measures application and ceiling, in rounds.
pub(crate) async fn measure(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    for row in &ROWS {
        run(scene, row, 1).await?;
    }
    let mut rounds = ROWS.map(|_| Vec::new());
    for round in 1..=scene.options.rounds {
        for (row, times) in ROWS.iter().zip(&mut rounds) {
            let next = run(scene, row, scene.options.seconds).await?;
            let [p50, p99] = [50, 99].map(|share| percentile(&next.received, share));
            let name = row.received;
            progress(&format!("round {round}: p50 {p50:.2} ms, p99 {p99:.2} ms  {name}"));
            times.push(next);
        }
    }
    for (row, rounds) in ROWS.into_iter().zip(&rounds) {
        let received = rounds.iter().map(|times: &Times| &times.received).collect::<Vec<_>>();
        let accepted = rounds.iter().map(|times| &times.accepted).collect::<Vec<_>>();
        let figures = [(row.received, received), (row.accepted, accepted)];
        for ((name, rounds), target) in figures.into_iter().zip(row.targets) {
            let [p50, p99] =
                [50, 99].map(|share| rounds.iter().map(|times| percentile(times, share)).collect());
            report.add(Figure::milliseconds(name, p50).p99(p99).aim(target));
        }
    }
    Ok(())
}

async fn run(scene: &Scene<'_>, row: &Row, seconds: u64) -> Result<Times> {
    scene.receiver.forget().await?;
    let began = books::now()?;
    let posted = open_loop::post(letters(scene, row.keeper)?, row.per_second, seconds).await?;
    row.keeper.close(&scene.place.superuser_url(), &scene.receiver, began).await?;
    open_loop::pair(&posted, &scene.receiver.arrivals().await?)
}

fn letters(scene: &Scene<'_>, keeper: Keeper) -> Result<Vec<Letter>> {
    let letter = |customer: &crate::customers::Customer| {
        let mut headers = HeaderMap::new();
        let uri = match keeper {
            Keeper::Application => {
                headers.insert(AUTHORIZATION, format!("Bearer {}", customer.key).parse()?);
                format!("http://{}/api/v1/events", scene.application.address)
            }
            Keeper::ByHand => {
                let tenant = customer.tenant.uuid();
                format!("http://{}/tenants/{tenant}/events", scene.by_hand.address)
            }
        };
        Ok(Letter { uri: uri.parse()?, headers, body: Bytes::from_static(BODY.as_bytes()) })
    };
    scene.customers.iter().map(letter).collect()
}
