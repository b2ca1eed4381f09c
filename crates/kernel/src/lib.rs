#![doc = include_str!("../README.md")]

mod actor;
mod app;
mod assembly;
mod changes;
mod claims;
mod clocks;
mod config;
pub mod crypto;
mod cx;
mod database;
pub mod directory;
mod error;
mod event;
mod housekeeping;
mod http;
mod id;
mod limits;
mod metrics;
mod module;
pub mod ports;
mod queue;
pub mod rules;
mod slugs;
mod start_error;
mod stream;
mod subject_keys;
pub mod telemetry;
mod time;
pub mod trace;
mod tx;

pub use actor::{
    Actor, Permissions, PortalLink, PortalLinkId, Principal, Role, RoleId, SystemRole,
};
pub use app::{App, migrations, openapi};
pub use changes::Change;
pub use claims::Claim;
pub use clocks::TenantClock;
pub use config::{Config, Duties, Lanes, Limits, Pooler};
pub use cx::Cx;
pub use database::{Db, Finding, MigrateError, Migration, SchemaError, fingerprint, migrate};
pub use database::{Found, Survey, survey};
pub use directory::{ServiceAccountId, TenantId, UserId};
pub use error::{Error, FieldError, Kind, OnConstraint, Result};
pub use event::{CustomEvent, Event, EventId, EventRecord, Recorded};
pub use freehold_kernel_derive::{Event, endpoint};
pub use housekeeping::{EventGap, UnknownKeys};
#[doc(hidden)]
pub use http::fuzzing;
pub use http::{
    Accepted, Access, Answer, Created, Endpoint, EndpointMeta, ErasedEndpoint, FromSegment,
    Handler, IfMatch, Input, Json, List, NoContent, NoFilter, OneOrMany, Operation, Output, PUBLIC,
    Page, Patch, Path, Reason, Recent, Route, Routes, SIGNED_IN, SchemaConflict, Server, State,
    WithEtag, erase,
};
pub use id::{Id, Named, NotAnId};
pub use limits::{Decision, Quota, RateLimiter};
pub use metrics::{Metrics, Series};
pub use module::{EventType, Module, Permission, Resource};
pub use queue::{
    Claimed, DeadJobs, Job, JobCx, JobId, JobsWaiting, KeyLimits, Kind as JobKind, Lane, Most,
    Priority, Rate, RunBatch, RunJob, Settlement,
};
pub use start_error::StartError;
pub use stream::{Interest, ScheduleFn, StoredEvent, SubscriberFn};
pub use subject_keys::SealedPart;
pub use time::{Clock, Timestamp};
pub use tx::{AccountTx, PlatformTx, SystemTx, Tx};
