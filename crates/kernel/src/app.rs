//! The application: modules assembled, checked against each other, and brought to life.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::actor::{Permissions, SystemRole};
use crate::changes::{self, Changes};
use crate::clocks::{self, Clocks};
use crate::config::Config;
use crate::crypto::Keyring;
use crate::cx::Origin;
use crate::database::{Database, Finding, Migration};
use crate::error::Result;
use crate::housekeeping;
use crate::http::{Described, Health, Operation, Route, document};
use crate::limits::RateLimiter;
use crate::metrics::Metrics;
use crate::module::{ChangeListener, EventType, Module, Permission, Resource, StartHook};
use crate::ports::Authenticate;
use crate::queue::{self, JobKind, Queue};
use crate::start_error::StartError;
use crate::stream::{self, Schedule, Subscriber, Wakers};
use crate::subject_keys::SubjectKeys;
use crate::trace::Cause;
use crate::tx::{AccountTx, Opening, Slot, SystemTx, Tx};
use crate::{TenantId, assembly};

/// How long the pools may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running (or about to run) application.
pub struct App {
    config: Config,
    database: Database,
    keyring: Keyring,
    limiter: RateLimiter,
    subject_keys: SubjectKeys,
    changes: Changes,
    clocks: Clocks,
    wakers: Wakers,
    queue: Queue,
    metrics: Metrics,
    health: Health,
    parts: Parts,
    openapi: OnceLock<(String, Value)>,
    stopping_since: OnceLock<Instant>,
    background: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    jobs: Mutex<JoinSet<()>>,
}

/// What the modules registered, merged.
#[derive(Default)]
struct Parts {
    modules: Vec<&'static str>,
    /// Each schema and the number of its last migration.
    versions: Vec<(&'static str, i64)>,
    resources: Vec<Resource>,
    permissions: Vec<Permission>,
    routes: Vec<Arc<Route>>,
    in_transaction: HashSet<(String, String)>,
    events: Vec<EventType>,
    states: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    authenticator: Option<Arc<dyn Authenticate>>,
    subscribers: Vec<Subscriber>,
    jobs: HashMap<&'static str, JobKind>,
    schedules: Vec<Schedule>,
    listeners: Mutex<Vec<ChangeListener>>,
}

/// Where a module's SQL files go.
#[must_use]
pub fn migrations(modules: &[Module]) -> Vec<Migration> {
    modules
        .iter()
        .filter_map(|module| Some(Migration { schema: module.name, files: module.migrations? }))
        .collect()
}

/// The OpenAPI document of an application that serves `modules` at `public_url`. Needs no database.
///
/// # Errors
/// [`StartError::Assembly`] when the modules do not fit together.
pub fn openapi(public_url: &str, modules: Vec<Module>) -> Result<Value, StartError> {
    let (parts, _) = assemble(modules)?;
    parts.describe(public_url)
}

impl App {
    /// Assembles the modules, verifies the database, runs what modules do at start, and begins to
    /// follow changes. Migrations must have run.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn start(config: Config, modules: Vec<Module>) -> Result<Arc<Self>, StartError> {
        let (parts, hooks) = assemble(modules)?;
        let database = Database::connect(&config).await?;
        database.check_schema(&parts.versions).await??;
        let findings = database.inspect().await?;
        if !findings.is_empty() {
            return Err(StartError::Unsafe(findings));
        }
        let app = Arc::new(Self {
            keyring: Keyring::new(&config.secret_key, &config.secret_key_previous),
            queue: Queue::new(&config.limits.lanes),
            config,
            database,
            limiter: RateLimiter::default(),
            subject_keys: SubjectKeys::default(),
            changes: Changes::default(),
            clocks: Clocks::default(),
            wakers: Wakers::new(parts.subscribers.iter().map(|subscriber| subscriber.name)),
            metrics: Metrics::default(),
            health: Health::default(),
            parts,
            openapi: OnceLock::new(),
            stopping_since: OnceLock::new(),
            background: Mutex::default(),
            jobs: Mutex::default(),
        });
        let document = app.parts.describe(&app.config.public_url)?;
        let _ = app.openapi.set((document.to_string(), document));
        housekeeping::admit_keys(&app).await??;
        app.make_event_partitions().await?;
        clocks::load(&app).await?;
        for hook in hooks {
            hook(app.clone()).await?;
        }
        app.run_in_background();
        Ok(app)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The keys that seal.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The modules' names, in the order of the list.
    pub fn modules(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.parts.modules.iter().copied()
    }

    /// Every route.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.parts.routes
    }

    /// Every permission, sorted by name.
    #[must_use]
    pub fn permissions(&self) -> &[Permission] {
        &self.parts.permissions
    }

    /// The words that modules own.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.parts.resources
    }

    /// Every kind of event, sorted by name.
    #[must_use]
    pub fn events(&self) -> &[EventType] {
        &self.parts.events
    }

    /// What a system role may do.
    #[must_use]
    pub fn permissions_of(&self, roles: &[SystemRole]) -> Permissions {
        self.parts
            .permissions
            .iter()
            .filter(|permission| permission.roles.iter().any(|role| roles.contains(role)))
            .map(|permission| permission.name)
            .collect()
    }

    /// The system roles that hold a permission.
    #[must_use]
    pub fn holders(&self, name: &str) -> Vec<SystemRole> {
        let declared = self.parts.permissions.iter().find(|permission| permission.name == name);
        declared.map(|permission| permission.roles.to_vec()).unwrap_or_default()
    }

    /// The OpenAPI document as JSON text.
    #[must_use]
    pub fn openapi(&self) -> &str {
        self.openapi.get().map_or("", |(text, _)| text)
    }

    /// The OpenAPI document.
    #[must_use]
    pub fn openapi_document(&self) -> &Value {
        self.openapi.get().map_or(&Value::Null, |(_, document)| document)
    }

    /// A transaction on the tables that span tenants, outside any request: start-up work.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn account_tx(self: &Arc<Self>) -> Result<AccountTx> {
        AccountTx::begin(self.origin()).await
    }

    /// A transaction in one tenant, outside any request: what somebody does at the command line.
    /// Nothing is kept unless it is committed.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn tenant_tx(self: &Arc<Self>, tenant: TenantId) -> Result<Tx> {
        Tx::begin(self.origin(), tenant, Opening::ReadWrite, Slot::default()).await
    }

    /// Looks for what would break isolation on this database, as every start does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn inspect(&self) -> Result<Vec<Finding>> {
        Ok(self.database.inspect().await?)
    }

    /// Makes the months of `core.events` and the days of `core.jobs_done` around today.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn make_event_partitions(self: &Arc<Self>) -> Result<()> {
        let mut tx = SystemTx::begin(self.origin()).await?;
        housekeeping::make_partitions(&mut tx).await?;
        tx.commit().await?;
        // Apart: a schedule that holds the one may wait for the other.
        let mut tx = SystemTx::begin(self.origin()).await?;
        queue::tend_days(&mut tx).await?;
        tx.commit().await
    }

    /// Runs a task until the application stops.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(tokio::spawn(task));
    }

    /// Runs a job until it ends or the application stops.
    pub(crate) fn run_job(&self, job: impl Future<Output = ()> + Send + 'static) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        while jobs.try_join_next().is_some() {}
        jobs.spawn(job);
    }

    /// Lets `requests` and jobs come to an end, for as long as the configuration grants, gives back
    /// the jobs that do not, and [stops](Self::stop). [`Server::run`](crate::Server::run) does this.
    pub async fn drain(self: &Arc<Self>, requests: impl Future<Output = ()>) {
        self.begin_stopping();
        let grace = self.config.limits.shutdown_grace;
        let left = grace
            .saturating_sub(self.stopping_since.get().map(Instant::elapsed).unwrap_or_default());
        let ended = async { tokio::join!(requests, self.queue.in_flight().ended()) };
        if tokio::time::timeout(left, ended).await.is_err() {
            tracing::warn!("some requests or jobs did not finish within {} s", grace.as_secs());
        }
        if let Err(error) = queue::hand_back(self).await {
            tracing::warn!(%error, "jobs could not be given back; others take them over in time");
        }
        self.stop().await;
    }

    /// Stops background work and closes the pools.
    pub async fn stop(&self) {
        self.begin_stopping();
        let tasks =
            std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        // What runs has ended before the pools close, or would complain of it. A connection that
        // nobody gives back must not keep the process from ending.
        let closed = async {
            futures_util::future::join_all(tasks).await;
            self.database.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("some database connections were still in use when the pools closed");
        }
    }

    pub(crate) fn begin_stopping(&self) {
        self.stopping_since.get_or_init(Instant::now);
    }

    /// Whether jobs may begin on this node.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.config.duties.works() && !self.is_stopping()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping_since.get().is_some()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    pub(crate) fn subject_keys(&self) -> &SubjectKeys {
        &self.subject_keys
    }

    pub(crate) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(crate) fn wakers(&self) -> &Wakers {
        &self.wakers
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What this node counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Each schema and the number of its last migration, as this release knows them.
    pub(crate) fn schema_versions(&self) -> &[(&'static str, i64)] {
        &self.parts.versions
    }

    pub(crate) fn subscribers(&self) -> &[Subscriber] {
        &self.parts.subscribers
    }

    pub(crate) fn schedules(&self) -> &[Schedule] {
        &self.parts.schedules
    }

    pub(crate) fn job_kind(&self, name: &str) -> Option<&JobKind> {
        self.parts.jobs.get(name)
    }

    pub(crate) fn job_kinds(&self) -> impl Iterator<Item = &JobKind> {
        self.parts.jobs.values()
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(crate) fn authenticator(&self) -> &dyn Authenticate {
        self.parts.authenticator()
    }

    /// What a module [keeps](Module::state) of this type.
    #[must_use]
    pub fn state<T: Clone + 'static>(&self) -> Option<T> {
        self.parts.states.get(&TypeId::of::<T>())?.downcast_ref::<T>().cloned()
    }

    /// Whether the handler of a route takes the request's transaction.
    pub(crate) fn in_transaction(&self, route: &Route) -> bool {
        self.parts.in_transaction.contains(&(route.method.to_string(), route.path.clone()))
    }

    /// Where changes come from that no request makes.
    pub(crate) fn origin(self: &Arc<Self>) -> Arc<Origin> {
        self.origin_in(None)
    }

    /// The same, as a part of a trace.
    pub(crate) fn origin_in(self: &Arc<Self>, trace: Option<Cause>) -> Arc<Origin> {
        Arc::new(Origin {
            app: self.clone(),
            request_id: String::new(),
            ip: None,
            user_agent: None,
            actor: OnceLock::new(),
            trace,
        })
    }

    fn run_in_background(self: &Arc<Self>) {
        if let Some(authenticator) = self.parts.authenticator.clone() {
            self.changes.listen(move |change| authenticator.forget(change));
        }
        let listeners = &self.parts.listeners;
        for listener in
            std::mem::take(&mut *listeners.lock().unwrap_or_else(PoisonError::into_inner))
        {
            self.changes.listen(listener);
        }
        let app = Arc::downgrade(self);
        self.changes.listen(move |change| {
            let Some(app) = app.upgrade() else { return };
            app.metrics.change_heard(change.age(app.config.clock.now()));
            app.subject_keys.forget(change);
            app.queue.heard(&app, change);
            if !clocks::concerns(change) {
                return;
            }
            tokio::spawn(clocks::reload(app));
        });
        self.run(changes::follow(self.clone()));
        stream::run(self);
    }
}

impl Parts {
    fn authenticator(&self) -> &dyn Authenticate {
        // Assembly refuses an application without one.
        self.authenticator.as_deref().unwrap_or(&crate::ports::Nobody)
    }

    fn describe(&self, public_url: &str) -> Result<Value, StartError> {
        let (document, faults) = document(&Described {
            public_url,
            modules: &self.modules,
            routes: &self.routes,
            refusals: self.authenticator().refusals(),
        });
        if faults.is_empty() { Ok(document) } else { Err(StartError::Assembly(faults)) }
    }
}

/// Merges what modules registered and refuses what does not fit together.
fn assemble(modules: Vec<Module>) -> Result<(Parts, Vec<StartHook>), StartError> {
    let faults = assembly::check(&modules);
    if !faults.is_empty() {
        return Err(StartError::Assembly(faults));
    }
    let (mut parts, mut hooks) = (Parts::default(), Vec::new());
    let mut listeners = Vec::new();
    parts.versions = assembly::versions(&modules);
    for module in modules {
        parts.modules.push(module.name);
        parts.resources.extend(module.resources);
        parts.permissions.extend(module.permissions);
        parts.events.extend(module.events);
        parts.states.extend(module.states);
        parts.authenticator = parts.authenticator.or(module.authenticator);
        parts.subscribers.extend(module.subscribers);
        parts.jobs.extend(module.jobs.into_iter().map(|kind| (kind.name, kind)));
        parts.schedules.extend(module.schedules);
        listeners.extend(module.listeners);
        hooks.extend(module.on_start);
        for route in module.routes {
            if Operation::of(&route).in_transaction() {
                parts.in_transaction.insert((route.method.to_string(), route.path.clone()));
            }
            parts.routes.push(Arc::new(route));
        }
    }
    parts.listeners = Mutex::new(listeners);
    parts.schedules.extend(housekeeping::schedules());
    parts.permissions.sort_by_key(|permission| permission.name);
    parts.events.sort_by_key(|event| event.name);
    parts.routes.sort_by(|a, b| (&a.path, a.method.as_str()).cmp(&(&b.path, b.method.as_str())));
    Ok((parts, hooks))
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("modules", &self.parts.modules).finish_non_exhaustive()
    }
}
