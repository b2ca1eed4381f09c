//! Deliveries that have piled up, as after an outage: how fast they are worked off.

use std::time::Duration;

use anyhow::Result;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::books::{self, Keeper};
use crate::cpu::Used;
use crate::events::{self, BATCH_CONNECTIONS};
use crate::load::{Amount, Load};
use crate::report::{Figure, Report, progress};
use crate::webhooks::Scene;

/// Nodes look at what has changed once a second.
const LOOK: Duration = Duration::from_secs(2);

/// Measures it, in rounds; once, if there are many.
pub(crate) async fn measure(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let load = events::load(scene, Keeper::Application, events::batch()).await?;
    let rounds = if scene.options.due > 200_000 { 1 } else { scene.options.rounds };
    let mut rates = Vec::new();
    for _ in 0..rounds {
        rates.push(drain(scene, &load).await?);
    }
    report.add(Figure::rate("backlog of due deliveries: signed, sent, logged", rates));
    Ok(())
}

/// Lets deliveries become due while none is handed out, then lets go.
async fn drain(scene: &Scene<'_>, load: &Load) -> Result<f64> {
    let Scene { options, place, receiver, .. } = scene;
    receiver.forget().await?;
    let mut database = PgConnection::connect(&place.superuser_url()).await?;
    set(&mut database, "insert into core.paused_queues (name, paused_by) values ($1, 'bench')")
        .await?;
    let began = books::now()?;
    while due(&mut database).await? < options.due {
        let amount = Amount { seconds: options.seconds, connections: BATCH_CONNECTIONS };
        load.run(amount).await?;
    }
    let used = || Used::now(place.postmaster()?, receiver.pid());
    let before = used()?;
    set(&mut database, "delete from core.paused_queues where name = $1").await?;
    let let_go = books::now()?;
    let tally = Keeper::Application.close(&place.superuser_url(), receiver, began).await?;
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = tally.logged as f64 / (tally.last - let_go);
    progress(&format!("backlog of {}: {rate:>7.0}/s", tally.logged));
    progress(&format!("  each: {}", used()?.each_since(&before, tally.logged)));
    Ok(rate)
}

/// Pauses or resumes deliveries as an operator's request does, and waits until the node knows.
async fn set(database: &mut PgConnection, change: &'static str) -> Result<()> {
    const KIND: &str = "webhooks.deliver";
    let mut tx = database.begin().await?;
    sqlx::query(change).bind(KIND).execute(&mut *tx).await?;
    sqlx::query("insert into core.changes (id, topic, subject) values ($1, 'queue', $2)")
        .bind(uuid::Uuid::now_v7())
        .bind(KIND)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    sleep(LOOK).await;
    Ok(())
}

async fn due(database: &mut PgConnection) -> Result<i64> {
    let due = "select count(*) from core.jobs where kind = 'webhooks.deliver'";
    Ok(sqlx::query_scalar(due).fetch_one(database).await?)
}
