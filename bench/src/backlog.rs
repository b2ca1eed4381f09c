//! Events that have piled up, as after an outage of ours: how fast they are worked off.

use anyhow::Result;
use sqlx::{Connection, PgConnection};

use crate::books::{self, Keeper};
use crate::cpu::Used;
use crate::events;
use crate::load::{Amount, Load};
use crate::report::{Figure, Report, progress};
use crate::webhooks::Scene;

/// Measures it, in rounds.
pub(crate) async fn measure(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let load = events::load(scene, Keeper::Application, events::one()).await?;
    let mut rates = Vec::new();
    for _ in 0..scene.options.rounds {
        rates.push(drain(scene, &load).await?);
    }
    report.add(Figure::rate("backlog: fanned out, signed, sent, logged", rates));
    Ok(())
}

/// Lets events be accepted while none can be fanned out, then lets go.
async fn drain(scene: &Scene<'_>, load: &Load) -> Result<f64> {
    let Scene { options, place, receiver, .. } = scene;
    receiver.forget().await?;
    let mut database = PgConnection::connect(&place.superuser_url()).await?;
    let mut held_back = database.begin().await?;
    sqlx::raw_sql("lock table webhooks.deliveries in share mode").execute(&mut *held_back).await?;
    let began = books::now()?;
    load.run(Amount { seconds: options.seconds, connections: options.connections }).await?;
    let used = || Used::now(place.postmaster()?, receiver.pid());
    let (before, let_go) = (used()?, books::now()?);
    held_back.rollback().await?;
    let tally = Keeper::Application.close(place, receiver, began).await?;
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = tally.logged as f64 / (tally.last - let_go);
    progress(&format!("backlog of {}: {rate:>7.0}/s", tally.logged));
    progress(&format!("  each: {}", used()?.each_since(&before, tally.logged)));
    Ok(rate)
}
