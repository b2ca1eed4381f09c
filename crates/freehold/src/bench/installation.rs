//! What is measured: a scratch installation, or one that is there and of which nothing is taken for
//! granted. What is made in it bears one name and goes at the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use freehold_kernel::crypto;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::caller::{Caller, Refused};
use super::cpu::Used;
use super::interrupt::Interrupt;
use super::scratch::{Processes, Scratch};
use super::wire::Address;
use super::{Options, What};

/// A tenant holds at most a quarter of the places for deliveries; eight keep all of them busy.
const TENANTS: usize = 8;

/// How long cleaning up may wait for limits and restarts.
const CLEANING: Duration = Duration::from_secs(180);

/// An installation, as far as a measurement needs to know it.
pub(super) struct Installation {
    pub(super) address: Arc<Address>,
    pub(super) url: String,
    /// At least one.
    pub(super) tenants: Vec<Tenant>,
    /// What everything is called that is made for the measurement: `bench-` and something random.
    pub(super) name: String,
    /// Its version.
    pub(super) freehold: String,
    /// Its PostgreSQL's, where it is ours.
    pub(super) postgres: Option<String>,
    /// Where a scratch installation lies.
    pub(super) folder: Option<String>,
    processes: Option<Processes>,
}

/// A tenant in it and how to act there.
pub(super) struct Tenant {
    pub(super) credential: HeaderValue,
}

impl Installation {
    /// The one that is named.
    pub(super) async fn named(options: &Options, what: What, url: &str) -> anyhow::Result<Self> {
        let mut installation = Self::at(url)?;
        for key in &options.keys {
            let credential = bearer(&read(key)?)?;
            let mut caller = Caller::new(&installation.address, Some(&credential));
            check(&mut caller, what).await?;
            installation.tenants.push(Tenant { credential });
        }
        installation.freehold = installation.version().await?;
        Ok(installation)
    }

    /// A scratch one, with people who registered over HTTP and own a tenant each.
    pub(super) async fn scratch(
        scratch: &Scratch,
        what: What,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let mut installation = Self::at(&scratch.url)?;
        installation.postgres = Some(scratch.postgres.clone());
        installation.folder = Some(scratch.folder().display().to_string());
        installation.processes = Some(scratch.processes());
        for number in 0..TENANTS {
            let tenant = interrupt.or(installation.register(what, number)).await?;
            installation.tenants.push(tenant);
        }
        installation.freehold = env!("CARGO_PKG_VERSION").to_owned();
        Ok(installation)
    }

    fn at(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            address: Address::parse(url)?,
            url: url.to_owned(),
            tenants: Vec::new(),
            name: format!("bench-{}", hex::encode(crypto::random::<4>()?)),
            freehold: String::new(),
            postgres: None,
            folder: None,
            processes: None,
        })
    }

    async fn register(&self, what: What, number: usize) -> anyhow::Result<Tenant> {
        let mut nobody = Caller::new(&self.address, None);
        let password = format!("{}-Kelp7", hex::encode(crypto::random::<12>()?));
        let person = json!({
            "email": format!("{}-{number}@example.org", self.name), "password": password,
            "name": format!("Person {number}"), "tenantName": format!("Tenant {number}"),
        });
        let signed_in = nobody.post("/api/v1/auth/register", person).await?;
        let token = bearer(signed_in["accessToken"].as_str().context("no token in the answer")?)?;
        let mut owner = Caller::new(&self.address, Some(&token));
        // A key does not run out as a token does, however long the measurement takes.
        let key = json!({"name": self.name, "scopes": what.permissions()});
        let key = owner.post("/api/v1/api-keys", key).await?;
        let secret = key["secret"].as_str().context("a key without its secret")?;
        Ok(Tenant { credential: bearer(secret)? })
    }

    async fn version(&self) -> anyhow::Result<String> {
        let document = Caller::new(&self.address, None).get("/openapi.json").await?;
        Ok(document["info"]["version"].as_str().unwrap_or("of unknown version").to_owned())
    }

    /// Somebody who acts in a tenant.
    pub(super) fn caller(&self, tenant: usize) -> Caller {
        let tenant = tenant % self.tenants.len().max(1);
        Caller::new(&self.address, self.tenants.get(tenant).map(|tenant| &tenant.credential))
    }

    /// Whose key a connection uses: all tenants in turn.
    pub(super) fn credential(&self, connection: usize) -> Option<HeaderValue> {
        let tenant = connection % self.tenants.len().max(1);
        self.tenants.get(tenant).map(|tenant| tenant.credential.clone())
    }

    /// Processor time until now.
    pub(super) fn used(&self) -> Option<Used> {
        Used::now(self.processes)
    }

    /// Makes a webhook that is found again by its name.
    pub(super) async fn webhook(
        &self,
        tenant: usize,
        url: &str,
        events: &str,
        is_active: bool,
    ) -> anyhow::Result<String> {
        let new = json!({
            "url": url, "events": [events], "description": self.name, "isActive": is_active,
        });
        let made = self.caller(tenant).post("/api/v1/webhooks", new).await?;
        Ok(made["id"].as_str().context("a webhook without an id")?.to_owned())
    }

    /// Removes everything of our name. Finds it by looking, so that it does not matter how far we
    /// came.
    pub(super) async fn clean_up(&self) -> anyhow::Result<()> {
        for tenant in 0..self.tenants.len() {
            let mut caller = self.caller(tenant).patient(CLEANING);
            let webhooks = caller.all("/api/v1/webhooks?").await?;
            for webhook in webhooks.iter().filter(|webhook| webhook["description"] == self.name) {
                let id = webhook["id"].as_str().unwrap_or_default();
                caller.remove(&format!("/api/v1/webhooks/{id}")).await?;
            }
        }
        Ok(())
    }
}

/// A key as it was typed, or the file that holds it.
fn read(key: &str) -> anyhow::Result<String> {
    let Some(path) = key.strip_prefix('@') else { return Ok(key.to_owned()) };
    let text = std::fs::read_to_string(path);
    Ok(text.with_context(|| format!("the file {path} cannot be read"))?.trim().to_owned())
}

fn bearer(secret: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {secret}"))
        .map_err(|_| anyhow!("the key holds characters that no key has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Refuses what could not be measured to its end, before anything is made.
async fn check(caller: &mut Caller, what: What) -> anyhow::Result<()> {
    let me = caller.get("/api/v1/auth/me").await.map_err(|error| {
        match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status == StatusCode::UNAUTHORIZED => anyhow!(
                "The installation does not know the key, or it is over. Make one with the \
                 permissions {}.",
                what.permissions().join(", ")
            ),
            _ => error,
        }
    })?;
    let known = &me["permissions"];
    let has = |permission: &str| {
        known.as_array().is_some_and(|known| known.iter().any(|one| one == permission))
    };
    let missing: Vec<&str> = what.permissions().iter().copied().filter(|one| !has(one)).collect();
    if !missing.is_empty() {
        bail!(
            "The key lacks {}. This measurement needs a key with the permissions {}.",
            missing.join(", "),
            what.permissions().join(", ")
        );
    }
    for webhook in caller.all("/api/v1/webhooks?").await? {
        if webhook["isActive"] == true && overhears(&webhook["events"], what) {
            bail!(
                "The webhook {} of this tenant wants these events, too: every request of the \
                 measurement would reach {}. Measure in a tenant of its own.",
                webhook["id"].as_str().unwrap_or_default(),
                webhook["url"].as_str().unwrap_or_default(),
            );
        }
    }
    Ok(())
}

/// Whether somebody else's webhook would get what the measurement makes.
fn overhears(events: &Value, what: What) -> bool {
    let patterns = events.as_array().into_iter().flatten().filter_map(Value::as_str);
    let ours: &[&str] = match what {
        What::Http => &["*", "webhook.*", "webhook.updated"],
        What::Webhooks | What::Jobs => &["*", "webhook.*", "webhook.tested"],
    };
    patterns.into_iter().any(|pattern| ours.contains(&pattern))
}
