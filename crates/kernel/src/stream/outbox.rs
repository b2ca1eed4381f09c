//! The outbox: which subscribers an event is for, and what they are given.

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::directory::TenantId;
use crate::error::Result;
use crate::event::EventId;
use crate::time::Timestamp;
use crate::tx::SystemTx;

/// An event as a subscriber gets it: what a webhook would carry, without what is personal.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The tenant it happened in.
    pub tenant: TenantId,
    /// Its id; the key by which effects happen once.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// `freehold` for ours, `custom` for the customer's own.
    pub source: String,
    /// What happened, as in `user.created`.
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// What it happened to.
    pub subject: String,
    /// The event's fields.
    pub data: Value,
}

/// Which events a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Everything of Freehold's own.
    Freehold,
    /// Everything, the customers' own events included.
    All,
    /// Events of Freehold's with these names.
    Only(&'static [&'static str]),
}

impl Interest {
    pub(crate) fn includes(self, source: &str, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Freehold => source == "freehold",
            Self::Only(kinds) => source == "freehold" && kinds.contains(&kind),
        }
    }
}

/// Handles a batch in the transaction it is given, which commits if it succeeds. Delivery is at
/// least once: write what you derive under the event's id.
pub type SubscriberFn =
    for<'a> fn(&'a mut SystemTx, &'a [StoredEvent]) -> BoxFuture<'a, Result<()>>;

/// A subscriber by name.
#[derive(Clone, Copy)]
pub(crate) struct Subscriber {
    pub(crate) name: &'static str,
    pub(crate) interest: Interest,
    pub(crate) handle: SubscriberFn,
}
