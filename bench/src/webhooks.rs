//! The rows about webhooks share the receiver, the customers and the ceiling.

use anyhow::Result;

use crate::Options;
use crate::application::Application;
use crate::by_hand::ByHand;
use crate::customers::{Customer, sign_up};
use crate::place::Place;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::{backlog, events, fanout, latency};

/// What the rows share.
pub(crate) struct Scene<'a> {
    pub(crate) options: &'a Options,
    pub(crate) place: &'a Place,
    pub(crate) application: &'a Application,
    pub(crate) receiver: Receiver,
    pub(crate) customers: Vec<Customer>,
    pub(crate) by_hand: ByHand,
}

/// Measures those of the rows that were asked for.
pub(crate) async fn measure(
    options: &Options,
    place: &Place,
    application: &Application,
    report: &mut Report,
) -> Result<()> {
    let receiver = Receiver::start()?;
    let customers = sign_up(application, &receiver.url(), options.tenants).await?;
    let by_hand = ByHand::start(place, &receiver.url()).await?;
    let scene = Scene { options, place, application, receiver, customers, by_hand };
    if options.wants("latency") {
        latency::measure(&scene, report).await?;
    }
    if options.wants("events") || options.wants("events-batch") {
        events::measure(&scene, report).await?;
    }
    if options.wants("backlog") {
        backlog::measure(&scene, report).await?;
    }
    // The last one: it leaves deliveries behind that wait for a receiver that never answers.
    if options.wants("fanout") {
        fanout::measure(&scene, report).await?;
    }
    report.note(&format!("{} tenants with a webhook each", scene.customers.len()));
    scene.by_hand.stop().await;
    Ok(())
}
