//! Signing in: how many a second, what they cost those who are signed in already, and what a flood
//! of bad ones costs those who are known.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Options;
use crate::application::{Application, PASSWORD, Person};
use crate::client::Poster;
use crate::report::{Figure, Report, Target, median, percentile, progress};

/// Asked for on each core that hashes; one is kept from hashing, where there are several.
const PER_CORE: f64 = 25.0;
const BESIDE_PER_SECOND: u32 = 20;
/// How much longer 99 of 100 reads may take beside them.
const SLOWER: f64 = 1.2;
const FLOOD_PER_SECOND: u32 = 2_000;
const FLOOD_ADDRESSES: u32 = 500;
const KNOWN_PER_SECOND: u32 = 5;
/// 95 of 100 sign-ins on known devices, meanwhile.
const KNOWN_MS: f64 = 1_000.0;
/// A worker waits for an answer before it sends its next request.
const WORKERS: u32 = 64;
/// Some of a flood wait for two seconds; the others must not wait for them.
const FLOOD_WORKERS: u32 = 1_024;

/// What is sent, by its number.
type Source = dyn Fn(u32) -> Result<Request<Full<Bytes>>> + Send + Sync;

/// What came of one request.
struct Outcome {
    status: StatusCode,
    /// From the moment it was due.
    milliseconds: f64,
}

/// Measures what was asked for.
pub(crate) async fn measure(
    options: &Options,
    application: &Application,
    report: &mut Report,
) -> Result<()> {
    if options.wants("login") {
        alone(options, application, report).await?;
    }
    if options.wants("login-beside") {
        beside(options, application, report).await?;
    }
    if options.wants("flood") {
        flood(options, application, report).await?;
    }
    Ok(())
}

async fn alone(options: &Options, application: &Application, report: &mut Report) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let places = u32::try_from(cores.saturating_sub(1).max(1))?;
    let mut rates = Vec::new();
    for round in 1..=options.rounds {
        let outcomes = run(sign_ins(application), Pace::Closed(4), options.seconds).await?;
        all_well(&outcomes)?;
        let rate = count(&outcomes) / seconds(options);
        progress(&format!("round {round}: {rate:>9.1}/s  sign-ins"));
        rates.push(rate);
    }
    let target = Target::AtLeast(PER_CORE * f64::from(places));
    report.add(Figure::rate("sign-ins", rates).aim(Some(target)));
    report.note(&format!("{places} of {cores} cores may hash passwords"));
    Ok(())
}

async fn beside(options: &Options, application: &Application, report: &mut Report) -> Result<()> {
    let fastest = run(reads(application), Pace::Closed(32), options.seconds).await?;
    all_well(&fastest)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let half = (count(&fastest) / seconds(options) / 2.0) as u32;
    progress(&format!("reads at half of what these clients reach: {half}/s"));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let quiet = run(reads(application), Pace::Open(half, WORKERS), options.seconds).await?;
        let (busy, sign_ins) = tokio::try_join!(
            run(reads(application), Pace::Open(half, WORKERS), options.seconds),
            run(sign_ins(application), Pace::Open(BESIDE_PER_SECOND, WORKERS), options.seconds),
        )?;
        for outcomes in [&quiet, &busy, &sign_ins] {
            all_well(outcomes)?;
        }
        let [quiet, busy] = [quiet, busy].map(|outcomes| of_hundred(&outcomes, 99));
        progress(&format!("round {round}: p99 {quiet:.2} ms alone, {busy:.2} ms beside sign-ins"));
        without.push(quiet);
        with.push(busy);
    }
    let most = Target::NoMore(SLOWER * median(&without));
    report.add(Figure::milliseconds("reads at half their rate: p99", without));
    report.add(Figure::milliseconds("the same beside 20 sign-ins/s: p99", with).aim(Some(most)));
    Ok(())
}

async fn flood(options: &Options, application: &Application, report: &mut Report) -> Result<()> {
    let (mut refused, mut hashed, mut known_ms) = (Vec::new(), Vec::new(), Vec::new());
    let flood = Pace::Open(FLOOD_PER_SECOND, FLOOD_WORKERS);
    for round in 1..=options.rounds {
        let (bad, known) = tokio::try_join!(
            run(bad_sign_ins(application, round), flood, options.seconds),
            run(sign_ins(application), Pace::Open(KNOWN_PER_SECOND, WORKERS), options.seconds),
        )?;
        all_well(&known)?;
        let of =
            |wanted: &[u16]| bad.iter().filter(|one| wanted.contains(&one.status.as_u16())).count();
        let [wrong, early] = [of(&[401]), of(&[429, 503])];
        ensure!(wrong + early == bad.len(), "a bad sign-in was answered otherwise");
        let p95 = of_hundred(&known, 95);
        progress(&format!(
            "round {round}: {early} refused before hashing ({} of them 503), {wrong} hashed; known p95 {p95:.0} ms",
            of(&[503])
        ));
        refused.push(rate(early, options));
        hashed.push(rate(wrong, options));
        known_ms.push(p95);
    }
    report.add(Figure::rate("flood of 2,000 bad sign-ins/s: refused before hashing", refused));
    report.add(Figure::rate("flood: hashed", hashed));
    let most = Some(Target::NoMore(KNOWN_MS));
    report.add(Figure::milliseconds("flood: sign-ins on known devices, p95", known_ms).aim(most));
    Ok(())
}

fn reads(application: &Application) -> Box<Source> {
    let uri = format!("http://{}/api/v1/tenant", application.address);
    let tokens: Vec<String> = application.people.iter().map(|one| one.token.clone()).collect();
    Box::new(move |number| {
        let token = &tokens[number as usize % tokens.len()];
        Ok(Request::get(&uri)
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())?)
    })
}

/// Everybody in turn, on the devices that they registered on.
fn sign_ins(application: &Application) -> Box<Source> {
    let body = |person: &Person| json!({"email": person.email, "password": PASSWORD, "deviceToken": person.device});
    let bodies: Vec<String> =
        application.people.iter().map(|person| body(person).to_string()).collect();
    let uri = sign_in_at(application);
    Box::new(move |number| {
        let body = &bodies[number as usize % bodies.len()];
        // 10.1.0.0 and on; more addresses than people, which makes no difference to them.
        sign_in(&uri, Ipv4Addr::from(0x0a01_0000 + number % 256), body.clone())
    })
}

/// Half of them about people there are, half about nobody.
fn bad_sign_ins(application: &Application, round: u32) -> Box<Source> {
    let emails: Vec<String> = application.people.iter().map(|one| one.email.clone()).collect();
    let uri = sign_in_at(application);
    Box::new(move |number| {
        let email = if number.is_multiple_of(2) {
            emails[number as usize / 2 % emails.len()].clone()
        } else {
            format!("nobody{round}-{number}@example.org")
        };
        let body = json!({"email": email, "password": "Not-the-1-it-is"}).to_string();
        sign_in(&uri, Ipv4Addr::from(0x0a02_0000 + number % FLOOD_ADDRESSES), body)
    })
}

fn sign_in_at(application: &Application) -> String {
    format!("http://{}/api/v1/auth/login", application.address)
}

fn sign_in(uri: &str, from: Ipv4Addr, body: String) -> Result<Request<Full<Bytes>>> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-forwarded-for", HeaderValue::from_str(&from.to_string())?);
    let mut request = Request::post(uri).body(Full::from(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// When requests are sent.
#[derive(Clone, Copy)]
enum Pace {
    /// So many connections, each as fast as it is answered.
    Closed(u32),
    /// So many a second, whatever became of those before, by so many workers.
    Open(u32, u32),
}

/// Sends for so long, on a thread of its own.
async fn run(source: Box<Source>, pace: Pace, seconds: u64) -> Result<Vec<Outcome>> {
    let sending = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send_all(source.into(), pace, Duration::from_secs(seconds)))
    });
    sending.await?
}

async fn send_all(
    source: std::sync::Arc<Source>,
    pace: Pace,
    lasts: Duration,
) -> Result<Vec<Outcome>> {
    let poster = Poster::new();
    let (Pace::Closed(workers) | Pace::Open(_, workers)) = pace;
    let began = Instant::now();
    let mut working = JoinSet::new();
    for worker in 0..workers {
        let (poster, source) = (poster.clone(), source.clone());
        working.spawn(async move {
            let mut outcomes = Vec::new();
            for number in (worker..).step_by(workers as usize) {
                let due = match pace {
                    Pace::Closed(_) => Instant::now(),
                    Pace::Open(per_second, _) => {
                        began + Duration::from_secs(1) * number / per_second
                    }
                };
                if due >= began + lasts {
                    break;
                }
                sleep_until(due).await;
                let (status, _) = poster.send(source(number)?).await?;
                let milliseconds = due.elapsed().as_secs_f64() * 1e3;
                outcomes.push(Outcome { status, milliseconds });
            }
            anyhow::Ok(outcomes)
        });
    }
    let outcomes: Result<Vec<Vec<Outcome>>> = working.join_all().await.into_iter().collect();
    Ok(outcomes?.into_iter().flatten().collect())
}

fn all_well(outcomes: &[Outcome]) -> Result<()> {
    let failed = outcomes.iter().find(|one| !one.status.is_success());
    ensure!(failed.is_none(), "a request was answered {}", failed.context("none")?.status);
    Ok(())
}

fn of_hundred(outcomes: &[Outcome], percent: usize) -> f64 {
    let times: Vec<f64> = outcomes.iter().map(|one| one.milliseconds).collect();
    percentile(&times, percent)
}

#[allow(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn count(outcomes: &[Outcome]) -> f64 {
    outcomes.len() as f64
}

#[allow(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn rate(count: usize, options: &Options) -> f64 {
    count as f64 / seconds(options)
}

#[allow(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn seconds(options: &Options) -> f64 {
    options.seconds as f64
}
