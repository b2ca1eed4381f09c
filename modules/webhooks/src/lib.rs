#![doc = include_str!("../README.md")]

mod bodies;
mod catalogue;
mod deliver;
mod deliveries;
mod dispatch;
mod endpoint_acts;
mod endpoint_input;
mod endpoints;
mod event_keys;
mod event_type_input;
mod event_types;
mod events;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod intake;
mod options;
mod record;
mod removal;
mod replays;
mod request;
mod resend;
mod retries;
mod schema;
mod schema_cost;
mod schema_parts;
mod signature;
mod waiting;

use std::time::Duration;

use freehold_egress::Egress;
use freehold_kernel::SystemRole::{Admin, Agent, Member, Owner, Viewer};
use freehold_kernel::{Interest, Module};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How often what is kept for a while is tidied up, and how many rows then: as fast as they may come.
const TIDIED_EVERY: Duration = Duration::from_secs(15);
const TIDIED_AT_ONCE: i64 = 60_000;

/// What an installation decides.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the bodies of receivers' answers are kept.
    pub bodies_kept: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bodies_kept: Duration::from_secs(30 * 24 * 60 * 60) }
    }
}

/// The webhooks module; every request goes out through `egress`.
#[must_use]
pub fn module(settings: Settings, egress: Egress) -> Module {
    let catalogue = catalogue::Catalogue::default();
    let listening = catalogue.clone();
    permissions_and_events(Module::new("webhooks"))
        .migrations(&MIGRATIONS)
        .resource("webhook", "webhooks")
        .resource("event", "events")
        .resource("event_type", "event-types")
        .id::<endpoints::Endpoint>()
        .id::<deliveries::Delivery>()
        .id::<replays::Replay>()
        .routes(endpoints::routes())
        .routes(endpoint_acts::routes())
        .routes(replays::routes())
        .routes(deliveries::routes())
        .routes(event_types::routes())
        .routes(events::routes())
        .on_events(Interest::All, |tx, batch| Box::pin(dispatch::handle(tx, batch)))
        .batch_job::<deliver::Deliver>()
        .job::<resend::Resend>()
        .job::<removal::RemoveLog>()
        .schedule("webhooks.forget_event_keys", TIDIED_EVERY, |tx| Box::pin(event_keys::forget(tx)))
        .schedule("webhooks.forget_bodies", TIDIED_EVERY, |tx| Box::pin(bodies::forget(tx)))
        .on_change(move |change| listening.forget(change))
        .state(catalogue)
        .state(settings)
        .state(egress)
        .state(health::Breakers::default())
        .state(dispatch::Widths::default())
        .state(intake::Intake::default())
}

fn permissions_and_events(module: Module) -> Module {
    module
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
            "See the kinds of events, and those of one's own that were sent",
            &[Owner, Admin, Member, Agent, Viewer],
        )
        .permission("events:write", "Send events of one's own", &[Owner, Admin, Member])
        .permission(
            "event-types:write",
            "Declare kinds of events of one's own, with schemas",
            &[Owner, Admin, Member],
        )
        .publishes::<endpoints::WebhookCreated>()
        .publishes::<endpoints::WebhookUpdated>()
        .publishes::<endpoint_acts::WebhookEnabled>()
        .publishes::<endpoints::WebhookDeleted>()
        .publishes::<endpoint_acts::WebhookTested>()
        .publishes::<endpoint_acts::WebhookSecretRotated>()
        .publishes::<health::WebhookDisabled>()
        .publishes::<health::DeliveryFailed>()
        .publishes::<health::DeliveryExhausted>()
        .publishes::<health::DeliveryRecovered>()
        .publishes::<deliveries::DeliveryRetried>()
        .publishes::<replays::WebhookReplayed>()
        .publishes::<replays::WebhookReplayCancelled>()
        .publishes::<event_types::EventTypeCreated>()
        .publishes::<event_types::EventTypeUpdated>()
        .publishes::<event_types::EventTypeDeleted>()
}
