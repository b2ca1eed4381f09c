#![doc = include_str!("../README.md")]

mod deliver;
mod deliveries;
mod dispatch;
mod endpoints;
mod event_types;
mod events;
#[doc(hidden)]
pub mod fuzzing;
mod request;
mod signature;

use std::time::Duration;

use freehold_egress::Egress;
use freehold_kernel::SystemRole::{Admin, Agent, Member, Owner, Viewer};
use freehold_kernel::{Interest, Module};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The webhooks module; every request goes out through `egress`.
#[must_use]
pub fn module(egress: Egress) -> Module {
    Module::new("webhooks")
        .migrations(&MIGRATIONS)
        .resource("webhook", "webhooks")
        .resource("event", "events")
        .id::<endpoints::Endpoint>()
        .id::<deliveries::Delivery>()
        .permission(
            "webhooks:read",
            "See webhooks and deliveries",
            &[Owner, Admin, Member, Agent, Viewer],
        )
        .permission(
            "webhooks:write",
            "Make and change webhooks, retry deliveries",
            &[Owner, Admin, Member],
        )
        .permission("webhooks:delete", "Remove webhooks", &[Owner, Admin])
        .permission(
            "events:read",
            "See the kinds of events",
            &[Owner, Admin, Member, Agent, Viewer],
        )
        .permission("events:write", "Send events of one's own", &[Owner, Admin, Member])
        .publishes::<endpoints::WebhookCreated>()
        .publishes::<endpoints::WebhookUpdated>()
        .publishes::<endpoints::WebhookEnabled>()
        .publishes::<endpoints::WebhookDeleted>()
        .publishes::<endpoints::WebhookTested>()
        .publishes::<deliver::WebhookDisabled>()
        .routes(endpoints::routes())
        .routes(deliveries::routes())
        .routes(event_types::routes())
        .routes(events::routes())
        .on_events(Interest::All, |tx, batch| Box::pin(dispatch::fan_out(tx, batch)))
        .batch_job::<deliver::Deliver>()
        .schedule("webhooks.forget_event_keys", Duration::from_secs(3600), |tx| {
            Box::pin(events::forget_keys(tx))
        })
        .state(egress)
}
