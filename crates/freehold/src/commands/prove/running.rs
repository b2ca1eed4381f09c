//! The application under proof, in this process, answering real requests on a free port.

use std::net::SocketAddr;
use std::time::Duration;

use freehold_kernel::{App, Clock, Config, Duties, Limits, Module, Pooler, Quota, Server, crypto};
use freehold_proof::Subject;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::scratch::Urls;

/// Few, so that tenants share them.
const CONNECTIONS: u32 = 8;
/// What is asked of it comes as fast as it answers.
const PLENTY: Quota = Quota::per_minute(6_000_000, 1_000_000);

/// It ends when it is dropped.
pub(super) struct Running {
    pub(super) subject: Subject,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// What is the same each time it starts on one database.
#[derive(Clone)]
pub(super) struct Secret(Vec<u8>);

impl Secret {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(crypto::random::<32>()?.to_vec()))
    }
}

impl Running {
    pub(super) async fn start(
        urls: &Urls,
        secret: &Secret,
        modules: Vec<Module>,
        patience: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let mut config = config(urls, secret);
        if let Some(patience) = patience {
            config.limits.request_timeout = patience;
        }
        let app = App::start(config, modules).await?;
        let server = Server::bind(app.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let base = format!("http://{}", server.address()?);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async {
            // A sender that is dropped says the same.
            let _ = stopped.await;
        }));
        let superuser = PgPoolOptions::new().max_connections(4).connect_lazy(&urls.superuser)?;
        Ok(Self { subject: Subject { app, superuser, base }, stop: Some(stop), serving })
    }

    /// Ends it, so that nobody is connected to its database any more.
    pub(super) async fn stop(mut self) -> anyhow::Result<Subject> {
        drop(self.stop.take());
        (&mut self.serving).await?;
        self.subject.app.stop().await;
        Ok(self.subject.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn config(urls: &Urls, secret: &Secret) -> Config {
    Config {
        database_url: urls.logins.app.clone(),
        database_system_url: urls.logins.system.clone(),
        database_direct_url: None,
        pooler: Pooler::None,
        pool_size: CONNECTIONS,
        public_url: "http://localhost:3000".to_owned(),
        allowed_origins: Vec::new(),
        trusted_proxies: Vec::new(),
        secret_key: secret.0.clone(),
        secret_key_previous: Vec::new(),
        duties: Duties::Everything,
        clock: Clock::default(),
        limits: Limits { per_ip: PLENTY, per_tenant: PLENTY, ..Limits::default() },
    }
}
