//! The real application in this process: kernel, identity, tenants and webhooks, over HTTP on
//! loopback, with people who registered over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use freehold_egress::{Egress, Options, Policy};
use freehold_identity::{Authenticator, Settings};
use freehold_kernel::{
    App, Clock, Config, Duties, Limits, Pooler, Quota, Server, TenantId, migrations,
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::place::Urls;
use crate::report::progress;

/// As many as `freehold up` opens.
pub(crate) const POOL_SIZE: u32 = 32;
/// Everybody's.
pub(crate) const PASSWORD: &str = "tarn-Kelp7-obverse";
/// Enough that no two requests under way change the same row often.
const PEOPLE: u32 = 64;
/// More than requests under way are given at shutdown.
const PATIENCE: Duration = Duration::from_secs(40);
/// The limiter works for every request and refuses none.
const PLENTY: Quota = Quota::per_minute(600_000_000, 100_000_000);

/// The running application and the people in it.
pub(crate) struct Application {
    pub(crate) app: Arc<App>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) address: SocketAddr,
    pub(crate) people: Vec<Person>,
    /// A role that everybody may grant.
    pub(crate) role_id: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// Somebody who owns a tenant.
pub(crate) struct Person {
    pub(crate) tenant: TenantId,
    pub(crate) token: String,
    pub(crate) email: String,
    /// Makes the next sign-in that of a known device.
    pub(crate) device: String,
}

impl Application {
    /// Migrates, starts, and lets everybody register.
    pub(crate) async fn start(urls: &Urls) -> Result<Self> {
        let authenticator = Arc::new(Authenticator::default());
        let identity = freehold_identity::module_with(Settings::default(), authenticator.clone());
        let webhooks = freehold_webhooks::module(Default::default(), egress()?);
        let modules = vec![identity, freehold_tenants::module(), webhooks];
        freehold_kernel::migrate(&urls.superuser, &migrations(&modules)).await?;
        let app = App::start(config(urls), modules).await?;
        let server = Server::bind(app.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = server.address()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async {
            // A sender that is dropped says the same.
            let _ = stopped.await;
        }));
        progress(&format!("the application listens on {address}; {PEOPLE} people register"));
        let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
        let base = format!("http://{address}/api/v1");
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            people.push(register(&client, &base, number).await?);
        }
        let role_id = member_role(&client, &base, people.first().context("nobody")?).await?;
        Ok(Self { app, authenticator, address, people, role_id, stop, serving })
    }

    /// Stops as on SIGTERM.
    pub(crate) async fn stop(self) -> Result<()> {
        // The other end is gone when the server has ended by itself.
        let _ = self.stop.send(());
        let stopped = tokio::time::timeout(PATIENCE, self.serving).await;
        Ok(stopped.context("the application did not stop")??)
    }
}

/// As `freehold up` has it: receivers may be on this machine.
fn egress() -> Result<Egress> {
    Ok(Egress::new(Options { policy: Policy::development(), ..Options::default() })?)
}

pub(crate) fn config(urls: &Urls) -> Config {
    Config {
        database_url: urls.app.clone(),
        database_system_url: urls.system.clone(),
        database_direct_url: None,
        pooler: Pooler::None,
        pool_size: POOL_SIZE,
        public_url: "http://localhost:3000".to_owned(),
        allowed_origins: Vec::new(),
        // Rows about signing in come from many addresses, through a proxy on this machine.
        trusted_proxies: vec![IpAddr::from([127, 0, 0, 1])],
        secret_key: b"a secret that lasts for one benchmark".to_vec(),
        secret_key_previous: Vec::new(),
        duties: Duties::default(),
        clock: Clock::default(),
        limits: Limits { per_ip: PLENTY, per_tenant: PLENTY, ..Limits::default() },
    }
}

/// Registers one person with a tenant of their own.
pub(crate) async fn register(client: &Client, base: &str, number: u32) -> Result<Person> {
    let email = format!("person{number}@example.org");
    let new = json!({
        "email": email,
        "password": PASSWORD,
        "name": format!("Person {number}"),
        "tenantName": format!("Tenant {number}"),
    });
    let answer = client
        .post(format!("{base}/auth/register"))
        .header("content-type", "application/json")
        .body(new.to_string())
        .send()
        .await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "registering was answered {status}: {text}");
    let signed_in: Value = serde_json::from_str(&text)?;
    let tenant = signed_in["tenant"]["id"].as_str().context("no tenant in the answer")?;
    let token = signed_in["accessToken"].as_str().context("no token in the answer")?;
    let device = signed_in["deviceToken"].as_str().context("no device in the answer")?;
    Ok(Person {
        tenant: tenant.parse()?,
        token: token.to_owned(),
        email,
        device: device.to_owned(),
    })
}

async fn member_role(client: &Client, base: &str, person: &Person) -> Result<String> {
    let answer = client.get(format!("{base}/roles")).bearer_auth(&person.token).send().await?;
    let roles: Value = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
    roles["data"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|role| role["name"] == "Member")
        .and_then(|role| role["id"].as_str())
        .map(ToOwned::to_owned)
        .context("no role called Member")
}
