//! The application under test: assembled, served over real HTTP on a free port, with a database
//! of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_kernel::{
    App, Clock, Config, Duties, Limits, Module, Pooler, Quota, Server, StartError,
};
use freehold_kernel::{Timestamp, migrations};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::authenticator::admit_tests;
use crate::client::Shared;
use crate::database::Database;
use crate::raw::Raw;

/// A running application and everything a test asks about it. Dropping it stops everything and
/// removes the database, unless the test is failing: then the database is kept to be looked at.
pub struct TestApp {
    kernel: Arc<App>,
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Mutex<Option<Serving>>,
    superuser: PgPool,
    database: Arc<Database>,
}

struct Serving {
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

type ConfigChange = Box<dyn FnOnce(&mut Config) + Send>;

/// An application that is about to start.
pub struct TestAppBuilder {
    modules: Vec<Module>,
    changes: Vec<ConfigChange>,
    database: Option<Arc<Database>>,
}

impl TestApp {
    /// Starts the kernel with these modules.
    pub async fn start(modules: impl IntoIterator<Item = Module>) -> Self {
        Self::with(modules).start().await
    }

    /// The kernel with these modules, to be configured and started.
    #[must_use]
    pub fn with(modules: impl IntoIterator<Item = Module>) -> TestAppBuilder {
        let modules = modules.into_iter().collect();
        TestAppBuilder { modules, changes: Vec::new(), database: None }
    }

    /// The application itself: routes, permissions, events, OpenAPI document.
    #[must_use]
    pub fn kernel(&self) -> &Arc<App> {
        &self.kernel
    }

    /// A connection pool of the superuser, for assertions and for breaking things on purpose.
    #[must_use]
    pub fn sql(&self) -> &PgPool {
        &self.superuser
    }

    /// Where a role (`freehold_app`, `freehold_system`, `postgres`) logs in to this database.
    #[must_use]
    pub fn database_url(&self, role: &str) -> String {
        self.database.url(role)
    }

    /// The clock that this process reads.
    #[must_use]
    pub fn clock(&self) -> TestClock<'_> {
        TestClock { app: self }
    }

    /// `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// The same application byte by byte, for clients that misbehave.
    #[must_use]
    pub fn raw(&self) -> Raw {
        Raw::new(self.address)
    }

    /// Stops as on SIGTERM: no new connections, requests under way finish, pools close.
    pub async fn stop(&self) {
        if let Some(Serving { stop, done }) = self.take_serving() {
            // The other end has gone when the server has ended by itself.
            let _ = stop.send(());
            done.await.expect("the server ends without a panic");
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn take_serving(&self) -> Option<Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let Some(Serving { done, .. }) = self.take_serving() else { return };
        done.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let kernel = self.kernel.clone();
            runtime.spawn(async move { kernel.stop().await });
        }
    }
}

impl TestAppBuilder {
    /// Changes the configuration, as in `.config(|config| config.pool_size = 1)`.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Another node of the same installation: it shares database, clock and secrets.
    #[must_use]
    pub fn beside(mut self, app: &TestApp) -> Self {
        self.database = Some(app.database.clone());
        let clock = app.kernel.config().clock.clone();
        self.config(move |config| config.clock = clock)
    }

    /// Starts, or panics with what does not fit.
    pub async fn start(self) -> TestApp {
        match Box::pin(self.try_start()).await {
            Ok(app) => app,
            Err(error) => panic!("the application does not start: {error}"),
        }
    }

    /// Starts, for tests about applications that must not.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn try_start(self) -> Result<TestApp, StartError> {
        let database = match self.database {
            Some(database) => database,
            None => {
                let made = Database::create(&migrations(&self.modules)).await;
                Arc::new(made.expect("a database for the test"))
            }
        };
        let mut config = config(&database);
        self.changes.into_iter().for_each(|change| change(&mut config));
        let kernel = App::start(config, admit_tests(self.modules)).await?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(kernel.clone(), loopback).await.expect("a free port");
        let address = server.address().expect("the address of the port");
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(server.run(async {
            // A sender that is dropped says the same.
            let _ = stopped.await;
        }));
        let superuser = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy(&database.superuser_url())
            .expect("a URL of our own");
        let shared = Arc::new(Shared::new(address, kernel.openapi_document()));
        let serving = Mutex::new(Some(Serving { stop, done }));
        Ok(TestApp { kernel, shared, address, serving, superuser, database })
    }
}

/// Small pools, because many applications share one cluster, and limits no test meets by chance.
fn config(database: &Database) -> Config {
    let is_pooled = database.is_pooled();
    Config {
        database_url: database.application_url("freehold_app"),
        database_system_url: database.application_url("freehold_system"),
        database_direct_url: is_pooled.then(|| database.url("freehold_system")),
        pooler: if is_pooled { Pooler::Transaction } else { Pooler::None },
        pool_size: 8,
        public_url: "http://localhost:8080".to_owned(),
        allowed_origins: Vec::new(),
        trusted_proxies: Vec::new(),
        secret_key: b"a secret that only tests may know".to_vec(),
        secret_key_previous: Vec::new(),
        duties: Duties::default(),
        clock: Clock::default(),
        limits: Limits {
            per_ip: Quota::per_minute(6_000_000, 1_000_000),
            per_tenant: Quota::per_minute(6_000_000, 1_000_000),
            ..Limits::default()
        },
    }
}

/// The clock of a test.
#[derive(Clone, Copy)]
pub struct TestClock<'a> {
    app: &'a TestApp,
}

impl TestClock<'_> {
    /// What the application takes for now.
    #[must_use]
    pub fn now(self) -> Timestamp {
        self.app.kernel.config().clock.now()
    }

    /// Moves time forward, and makes what the application would have made by then.
    pub async fn advance(self, by: Duration) {
        self.app.kernel.config().clock.advance(by);
        self.app.kernel.make_event_partitions().await.expect("months of core.events");
    }
}
