//! From sending an event to its receiver having it, at a rate that leaves room: an open loop, so
//! that a slow answer delays no later post.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::books::{self, Keeper};
use crate::client::Poster;
use crate::receiver::monotonic;
use crate::report::{Figure, Report, Target, percentile, progress};
use crate::webhooks::Scene;

const PER_SECOND: u32 = 100;
const BODY: &str = r#"{"type":"order.paid","data":{"orderId":"A-1001","total":4200}}"#;

/// One post.
struct Posted {
    id: String,
    sent: i64,
    answered: i64,
}

/// Milliseconds, one for each post.
struct Times {
    received: Vec<f64>,
    accepted: Vec<f64>,
}

/// Where to post, as whom.
#[derive(Clone)]
struct Place {
    uri: Uri,
    headers: HeaderMap,
}

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
    let places = places(scene, keeper)?;
    let count = PER_SECOND * u32::try_from(seconds)?;
    // A thread of its own: the application's work must not delay the posts or their clocks.
    let posting = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(post_all(&places, count))
    });
    let posted = posting.await??;
    keeper.close(scene.place, &scene.receiver, began).await?;
    pair(&posted, &scene.receiver.arrivals().await?)
}

fn places(scene: &Scene<'_>, keeper: Keeper) -> Result<Vec<Place>> {
    let place = |customer: &crate::customers::Customer| {
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
        Ok(Place { uri: uri.parse()?, headers })
    };
    scene.customers.iter().map(place).collect()
}

/// Posts on time, whatever became of those before.
async fn post_all(places: &[Place], count: u32) -> Result<Vec<Posted>> {
    let poster = Poster::new();
    let began = Instant::now();
    let mut posts = JoinSet::new();
    for (number, place) in (0..count).zip(places.iter().cycle()) {
        sleep_until(began + Duration::from_secs(1) * number / PER_SECOND).await;
        posts.spawn(post_one(poster.clone(), place.clone()));
    }
    posts.join_all().await.into_iter().collect()
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

async fn post_one(poster: Poster, place: Place) -> Result<Posted> {
    let sent = monotonic();
    let body = Bytes::from_static(BODY.as_bytes());
    let (status, text) = poster.post(place.uri, place.headers, body).await?;
    let answered = monotonic();
    ensure!(status.is_success(), "an event was answered {status}");
    let accepted: Accepted = serde_json::from_slice(&text)?;
    Ok(Posted { id: accepted.id, sent, answered })
}

fn pair(posted: &[Posted], arrivals: &HashMap<String, i64>) -> Result<Times> {
    #[allow(clippy::cast_precision_loss, reason = "far less than 2^52 nanoseconds")]
    let milliseconds = |from: i64, to: i64| (to - from) as f64 / 1e6;
    let mut times = Times { received: Vec::new(), accepted: Vec::new() };
    for post in posted {
        let arrived = *arrivals.get(&post.id).context("an event never arrived")?;
        times.received.push(milliseconds(post.sent, arrived));
        times.accepted.push(milliseconds(post.sent, post.answered));
    }
    Ok(times)
}
