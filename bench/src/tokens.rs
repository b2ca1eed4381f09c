//! What it costs to know who is asking: a token that is remembered, and one seen for the first
//! time. One thread, so a figure is for one core.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use freehold_identity::Authenticator;
use freehold_kernel::{App, Clock};

use crate::application::Application;
use crate::report::{Figure, Report, Target, progress};

const LONG_ENOUGH: Duration = Duration::from_secs(1);
/// Reading the clock after every check would be part of the figure.
const BATCH: u32 = 64;

/// Measures both, in rounds. The tokens were remembered when their owners made their requests.
pub(crate) async fn measure(
    rounds: u32,
    application: &Application,
    report: &mut Report,
) -> Result<()> {
    let authenticator = application.authenticator.clone();
    let app = application.app.clone();
    let token = application.people.first().context("nobody registered")?.token.clone();
    // The first request makes the token remembered, whichever rows ran before.
    let url = format!("http://{}/api/v1/tenant", application.address);
    reqwest::Client::new().get(url).bearer_auth(&token).send().await?.error_for_status()?;
    let rates = tokio::task::spawn_blocking(move || loops(rounds, &authenticator, &app, &token));
    let [remembered, fresh] = rates.await??;
    let aim = |at_least| Some(Target::AtLeast(at_least));
    let name = "token check, remembered: Authenticator::recall, one core";
    report.add(Figure::rate(name, remembered).aim(aim(500_000.0)));
    let name = "token check, fresh: TokenKeys::verify (Ed25519), one core";
    report.add(Figure::rate(name, fresh).aim(aim(18_000.0)));
    Ok(())
}

fn loops(
    rounds: u32,
    authenticator: &Arc<Authenticator>,
    app: &Arc<App>,
    token: &str,
) -> Result<[Vec<f64>; 2]> {
    let (clock, issuer) = (Clock::default(), app.config().public_url.as_str());
    let ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (mut remembered, mut fresh) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        remembered.push(rate(|| match authenticator.recall(black_box(token), clock.now(), ip) {
            Ok(Some(actor)) => {
                black_box(actor);
                Ok(())
            }
            _ => bail!("the token is not remembered"),
        })?);
        fresh.push(rate(|| {
            match authenticator.keys().verify(black_box(token), issuer, clock.now()) {
                Ok(claims) => {
                    black_box(claims);
                    Ok(())
                }
                Err(error) => bail!("the token is not valid: {error}"),
            }
        })?);
        progress(&format!("round {round}: token checks"));
    }
    Ok([remembered, fresh])
}

/// Checks a second, over at least a second.
fn rate(mut check: impl FnMut() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    let mut done = 0_u32;
    while began.elapsed() < LONG_ENOUGH {
        for _ in 0..BATCH {
            check()?;
        }
        done += BATCH;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}
