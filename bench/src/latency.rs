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

/// Measures application and ceiling, in rounds.
pub(crate) async fn measure(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let names = [
        (
            Keeper::Application,
            "event at 100/s: from post to receiver",
            "event at 100/s: accepted",
            Some(Target::AtMost(2.0, 4.0)),
        ),
        (
            Keeper::ByHand,
            "ceiling D at 100/s: from post to receiver",
            "ceiling D at 100/s: accepted",
            None,
        ),
    ];
    for (keeper, ..) in names {
        run(scene, keeper, 1).await?;
    }
    let mut rounds: [Vec<Times>; 2] = [Vec::new(), Vec::new()];
    for round in 1..=scene.options.rounds {
        for ((keeper, name, ..), times) in names.iter().zip(&mut rounds) {
            let next = run(scene, *keeper, scene.options.seconds).await?;
            let [p50, p99] = [50, 99].map(|share| percentile(&next.received, share));
            progress(&format!("round {round}: p50 {p50:.2} ms, p99 {p99:.2} ms  {name}"));
            times.push(next);
        }
    }
    for ((_, received, accepted, target), rounds) in names.into_iter().zip(&rounds) {
        let of = |share| move |times: &Vec<f64>| percentile(times, share);
        let [p50, p99] = [50, 99]
            .map(|share| rounds.iter().map(|times| &times.received).map(of(share)).collect());
        report.add(Figure::milliseconds(received, p50).p99(p99).aim(target));
        let [p50, p99] = [50, 99]
            .map(|share| rounds.iter().map(|times| &times.accepted).map(of(share)).collect());
        report.add(Figure::milliseconds(accepted, p50).p99(p99));
    }
    Ok(())
}

async fn run(scene: &Scene<'_>, keeper: Keeper, seconds: u64) -> Result<Times> {
    scene.receiver.forget().await?;
    let began = books::now()?;
    let posted = open_loop::post(letters(scene, keeper)?, PER_SECOND, seconds).await?;
    keeper.close(&scene.place.superuser_url(), &scene.receiver, began).await?;
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
