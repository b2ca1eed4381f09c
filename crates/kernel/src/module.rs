//! What a module registers: a plain value that the application is assembled from.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use sqlx::migrate::Migrator;

use crate::Named;
use crate::actor::SystemRole;
use crate::app::App;
use crate::changes::Change;
use crate::error::Result;
use crate::event::Event;
use crate::housekeeping::Tick;
use crate::http::{Route, Routes, example};
use crate::ports::Authenticate;
use crate::queue::{JobKind, RunBatch, RunJob};
use crate::stream::{Interest, Schedule, ScheduleFn, Subscriber, SubscriberFn};

/// A capability: its tables, routes, permissions, events.
pub struct Module {
    pub(crate) name: &'static str,
    pub(crate) migrations: Option<&'static Migrator>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) prefixes: Vec<&'static str>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) routes: Vec<Route>,
    pub(crate) events: Vec<EventType>,
    pub(crate) states: Vec<(TypeId, Box<dyn Any + Send + Sync>)>,
    pub(crate) authenticator: Option<Arc<dyn Authenticate>>,
    pub(crate) on_start: Vec<StartHook>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) jobs: Vec<JobKind>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) listeners: Vec<ChangeListener>,
}

/// Acts on a change that this node or another committed.
pub(crate) type ChangeListener = Box<dyn Fn(&Change) + Send + Sync>;

pub(crate) type StartHook = Box<dyn FnOnce(Arc<App>) -> BoxFuture<'static, Result<()>> + Send>;

/// A word that a module owns: its plural prefixes permissions, its singular prefixes events.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// As in the event `webhook.created`.
    pub singular: &'static str,
    /// As in the permission `webhooks:read`.
    pub plural: &'static str,
}

/// Something that may be allowed.
#[derive(Clone, Copy, Debug)]
pub struct Permission {
    /// `<plural>:<verb>`.
    pub name: &'static str,
    /// What it allows, in a sentence without a full stop.
    pub description: &'static str,
    /// The system roles that hold it.
    pub roles: &'static [SystemRole],
    /// The module that declared it.
    pub module: &'static str,
}

/// A kind of event that a module publishes.
#[derive(Clone, Debug)]
pub struct EventType {
    /// `<singular>.<past tense>`.
    pub name: &'static str,
    /// What happened, in words.
    pub description: &'static str,
    /// JSON Schema of the event, personal fields included.
    pub schema: Value,
    /// An example of the event.
    pub sample: Value,
    /// Fields that are sealed and reach no webhook.
    pub personal: &'static [&'static str],
    /// The module that publishes it.
    pub module: &'static str,
}

impl EventType {
    /// The schema of what leaves the installation: without what is personal.
    #[must_use]
    pub fn public_schema(&self) -> Value {
        let mut schema = self.schema.clone();
        self.without_personal(schema.get_mut("properties"));
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !self.personal.iter().any(|personal| name == personal));
        }
        schema
    }

    /// The example without what is personal.
    #[must_use]
    pub fn public_sample(&self) -> Value {
        let mut sample = self.sample.clone();
        self.without_personal(Some(&mut sample));
        sample
    }

    fn without_personal(&self, fields: Option<&mut Value>) {
        if let Some(fields) = fields.and_then(Value::as_object_mut) {
            fields.retain(|name, _| !self.personal.contains(&name.as_str()));
        }
    }
}

fn to_json(schema: &impl serde::Serialize) -> Value {
    serde_json::to_value(schema).unwrap_or_default()
}

impl Module {
    /// A module by its one word: crate, folder, schema, error prefix.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            migrations: None,
            resources: Vec::new(),
            prefixes: Vec::new(),
            permissions: Vec::new(),
            routes: Vec::new(),
            events: Vec::new(),
            states: Vec::new(),
            authenticator: None,
            on_start: Vec::new(),
            subscribers: Vec::new(),
            jobs: Vec::new(),
            schedules: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// The SQL files, `sqlx::migrate!()`.
    #[must_use]
    pub fn migrations(mut self, files: &'static Migrator) -> Self {
        self.migrations = Some(files);
        self
    }

    /// A word this module owns, singular for events and plural for permissions.
    #[must_use]
    pub fn resource(mut self, singular: &'static str, plural: &'static str) -> Self {
        self.resources.push(Resource { singular, plural });
        self
    }

    /// The ids of a `T` are this module's.
    #[must_use]
    pub fn id<T: Named>(mut self) -> Self {
        self.prefixes.push(T::PREFIX);
        self
    }

    /// Declares a permission, what it allows, and the system roles that hold it.
    #[must_use]
    pub fn permission(
        mut self,
        name: &'static str,
        description: &'static str,
        roles: &'static [SystemRole],
    ) -> Self {
        self.permissions.push(Permission { name, description, roles, module: self.name });
        self
    }

    /// The module's routes.
    #[must_use]
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes.extend(routes.into_routes(self.name));
        self
    }

    /// The module emits events of this type.
    #[must_use]
    pub fn publishes<E: Event>(mut self) -> Self {
        let mut nested = Vec::new();
        E::schemas(&mut nested);
        let nested = nested.into_iter().map(|(name, schema)| (name, to_json(&schema))).collect();
        let schema = example::inlined(&to_json(&E::schema()), &nested);
        self.events.push(EventType {
            name: E::TYPE,
            description: E::DESCRIPTION,
            sample: example::of(&schema, &nested),
            schema,
            personal: E::PERSONAL,
            module: self.name,
        });
        self
    }

    /// Keeps a value for handlers that take [`State<T>`](crate::State).
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.push((TypeId::of::<T>(), Box::new(value)));
        self
    }

    /// This module finds out who is asking. Exactly one module of an application does.
    #[must_use]
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticate>) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// Takes the authenticator out, to put another one around it. Tests only: their principals
    /// need no session.
    pub fn take_authenticator(&mut self) -> Option<Arc<dyn Authenticate>> {
        self.authenticator.take()
    }

    /// The routes, to change a rule and see whether anybody notices. Tests only.
    pub fn routes_mut(&mut self) -> &mut [Route] {
        &mut self.routes
    }

    /// The permissions it declares.
    #[must_use]
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// Gets events in batches, each in a transaction of its own, at least once.
    #[must_use]
    pub fn on_events(mut self, interest: Interest, handle: SubscriberFn) -> Self {
        self.subscribers.push(Subscriber { name: self.name, interest, handle });
        self
    }

    /// Works on jobs of this kind, one by one.
    #[must_use]
    pub fn job<J: RunJob>(mut self) -> Self {
        self.jobs.push(JobKind::alone::<J>());
        self
    }

    /// Works on jobs of this kind, many together.
    #[must_use]
    pub fn batch_job<J: RunBatch>(mut self) -> Self {
        self.jobs.push(JobKind::together::<J>());
        self
    }

    /// Runs again and again, on one node at a time.
    #[must_use]
    pub fn schedule(mut self, name: &'static str, every: Duration, tick: ScheduleFn) -> Self {
        self.schedules.push(Schedule { name, every, tick: Tick::Whole(tick) });
        self
    }

    /// Acts on changes, on every node, within a second of their commit.
    #[must_use]
    pub fn on_change(mut self, listener: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Runs before the first request, on every node, once the database has been verified.
    #[must_use]
    pub fn on_start<F>(mut self, hook: impl FnOnce(Arc<App>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.on_start.push(Box::new(|app| Box::pin(hook(app))));
        self
    }
}
