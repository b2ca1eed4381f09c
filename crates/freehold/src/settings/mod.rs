//! What a person may set: flags over environment over `freehold.toml` over defaults.

mod documents;
#[cfg(test)]
mod precedence;
mod table;
mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use freehold_egress::Policy;
use freehold_kernel::telemetry::LogFormat;
use freehold_kernel::{Config, Duties, Lanes, Limits, Pooler, Quota};

pub use documents::{env_example, table as table_of_settings};
use freehold_identity::Registration;
use ipnet::IpNet;
pub use table::{DEFAULT_LISTEN, Flag, SETTINGS, Setting};
pub use values::{SettingsError, Sources};
use values::{Values, bad, name_of};

/// Keys shorter than this do not protect what is sealed under them.
const SECRET_LENGTH_MIN: usize = 32;

/// Everything that is set, or its default.
#[derive(Clone)]
pub struct Settings {
    /// The folder of `freehold up`.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether the first start makes a demo tenant.
    pub demo: bool,
    /// Where people reach us, if it is set.
    pub public_url: Option<String>,
    /// Origins that browsers may call from.
    pub allowed_origins: Vec<String>,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// How people may join.
    pub registration: Registration,
    /// What the log of deliveries keeps.
    pub webhooks: freehold_webhooks::Settings,
    /// What may be reached beyond the public internet.
    pub egress: Policy,
    /// Seals, if it is set.
    pub secret_key: Option<Vec<u8>>,
    /// May still open.
    pub secret_key_previous: Vec<Vec<u8>>,
    /// What is logged.
    pub log: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// Where traces go and which share of them, if anywhere.
    pub traces: Option<Traces>,
    /// Where PostgreSQL's programs are, if it is set.
    pub postgres_bin: Option<PathBuf>,
    /// A database of one's own.
    pub database: DatabaseSettings,
    /// How long a node that stops lets load balancers notice, if it is set.
    pub drain: Option<Duration>,
    /// Bounds on requests and on the past.
    pub limits: Limits,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The collector.
    pub endpoint: String,
    /// The share of traces that begin here and are sent, from 0 to 1.
    pub share: f64,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// Nowhere.
    Off,
    /// Where somebody wants them: taken, it is an error.
    At(SocketAddr),
    /// Where nobody has said otherwise: taken, Freehold starts without.
    IfFree(SocketAddr),
}

/// A database of one's own, and how to use any.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// As `freehold_app`; `None`: a private PostgreSQL.
    pub url: Option<String>,
    /// As `freehold_system`.
    pub system_url: Option<String>,
    /// As an administrator.
    pub owner_url: Option<String>,
    /// Past the pooler.
    pub direct_url: Option<String>,
    /// What stands between.
    pub pooler: Pooler,
    /// Connections for requests.
    pub pool_size: u32,
}

/// The two logins of a database that serves.
#[derive(Clone, Debug)]
pub struct Logins {
    /// As `freehold_app`.
    pub app: String,
    /// As `freehold_system`.
    pub system: String,
}

impl Settings {
    /// Reads every source.
    ///
    /// # Errors
    /// [`SettingsError`] names the setting and what would do.
    pub fn read(sources: &Sources<'_>) -> Result<Self, SettingsError> {
        let values = Values::read(sources)?;
        Ok(Self {
            data_dir: values.text("data_dir")?.unwrap_or(table::DEFAULT_DATA_DIR.into()).into(),
            listen: listen(&values, sources)?,
            demo: values.parsed("demo", "true or false")?.unwrap_or(true),
            public_url: values
                .text("public_url")?
                .map(|url| origin("public_url", &url))
                .transpose()?,
            allowed_origins: allowed_origins(&values)?,
            trusted_proxies: trusted_proxies(&values)?,
            registration: registration(&values)?,
            webhooks: webhooks(&values)?,
            egress: egress(&values)?,
            secret_key: values
                .text("secret_key")?
                .map(|key| secret("secret_key", &key))
                .transpose()?,
            secret_key_previous: values
                .words("secret_key_previous")?
                .into_iter()
                .map(|key| secret("secret_key_previous", &key))
                .collect::<Result<_, _>>()?,
            log: values.text("log.filter")?.unwrap_or_else(|| table::DEFAULT_LOG.to_owned()),
            log_format: log_format(&values)?,
            metrics: metrics(&values)?,
            traces: traces(&values)?,
            postgres_bin: values.text("postgres_bin")?.map(PathBuf::from),
            database: DatabaseSettings::read(&values)?,
            drain: values
                .parsed("limits.drain_seconds", "a number of seconds")?
                .map(Duration::from_secs),
            limits: limits(&values)?,
        })
    }

    /// What the kernel needs, given where the database is, what seals, and the port.
    #[must_use]
    pub fn kernel_config(
        &self,
        duties: Duties,
        logins: Logins,
        secret_key: Vec<u8>,
        port: u16,
    ) -> Config {
        Config {
            duties,
            database_url: logins.app,
            database_system_url: logins.system,
            database_direct_url: self.database.direct_url.clone(),
            pooler: self.database.pooler,
            pool_size: self.database.pool_size,
            public_url: self.public_url(port),
            allowed_origins: self.allowed_origins.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            secret_key,
            secret_key_previous: self.secret_key_previous.clone(),
            clock: freehold_kernel::Clock::default(),
            limits: Limits {
                drain: self.drain.unwrap_or(match duties {
                    Duties::Requests => table::DEFAULT_DRAIN,
                    Duties::Everything | Duties::Work => Duration::ZERO,
                }),
                ..self.limits.clone()
            },
        }
    }

    /// Where people reach us when we listen on this port.
    #[must_use]
    pub fn public_url(&self, port: u16) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://localhost:{port}"))
    }
}

impl DatabaseSettings {
    fn read(values: &Values) -> Result<Self, SettingsError> {
        let pooler = match values.text("database.pooler")?.as_deref() {
            None | Some("none") => Pooler::None,
            Some("transaction") => Pooler::Transaction,
            Some(other) => return Err(bad("database.pooler", other, "`none` or `transaction`")),
        };
        Ok(Self {
            url: values.text("database.url")?,
            system_url: values.text("database.system_url")?,
            owner_url: values.text("database.owner_url")?,
            direct_url: values.text("database.direct_url")?,
            pooler,
            pool_size: number(values, "database.pool_size", table::DEFAULT_POOL_SIZE)?,
        })
    }
}

/// The address; a bare PORT counts only where nobody has named an address more clearly.
fn listen(values: &Values, sources: &Sources<'_>) -> Result<SocketAddr, SettingsError> {
    let must = "an address like 127.0.0.1:3000 (this computer only) or 0.0.0.0:3000 (everybody)";
    let text = values.text("listen")?.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    let mut address: SocketAddr = numeric.trim().parse().map_err(|_| bad("listen", &text, must))?;
    let named = |value: Option<String>| value.is_some_and(|value| !value.is_empty());
    let is_named =
        sources.flags.contains_key("listen") || named((sources.environment)("FREEHOLD_LISTEN"));
    let port = (sources.environment)("PORT").filter(|port| !port.is_empty() && !is_named);
    if let Some(port) = port {
        address.set_port(port.trim().parse().map_err(|_| SettingsError::Bad {
            name: "PORT".to_owned(),
            value: port,
            must: "a number from 0 to 65535".to_owned(),
        })?);
    }
    Ok(address)
}

/// `scheme://host[:port]`, without the slash that people type at the end.
fn origin(key: &str, text: &str) -> Result<String, SettingsError> {
    let text = text.trim();
    let origin = text.strip_suffix('/').unwrap_or(text);
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let fits = host.is_some_and(|host| {
        !host.is_empty() && !host.contains(|c: char| "/?#@*".contains(c) || c.is_whitespace())
    });
    if fits { Ok(origin.to_owned()) } else { Err(bad(key, text, "like https://app.example.com")) }
}

fn allowed_origins(values: &Values) -> Result<Vec<String>, SettingsError> {
    let origins = values.words("allowed_origins")?;
    origins.iter().map(|text| origin("allowed_origins", text)).collect()
}

fn trusted_proxies(values: &Values) -> Result<Vec<IpAddr>, SettingsError> {
    let addresses = values.words("trusted_proxies")?;
    let parse = |text: &String| {
        let address = text.parse::<IpAddr>();
        address.map_err(|_| bad("trusted_proxies", text, "addresses like 10.0.0.1, without masks"))
    };
    addresses.iter().map(parse).collect()
}

fn webhooks(values: &Values) -> Result<freehold_webhooks::Settings, SettingsError> {
    let days = number(values, "webhook_bodies_kept_days", 30)?;
    let bodies_kept = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    Ok(freehold_webhooks::Settings { bodies_kept })
}

fn egress(values: &Values) -> Result<Policy, SettingsError> {
    let key = "egress.allowed_networks";
    let network = |text: &String| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| bad(key, text, "networks like 10.20.0.0/16 or addresses like 10.1.2.3"))
    };
    let allowed = values.words(key)?.iter().map(network).collect::<Result<_, _>>()?;
    let plain_http = values.parsed("egress.plain_http", "true or false")?.unwrap_or_default();
    Ok(Policy { loopback: false, plain_http, allowed })
}

fn registration(values: &Values) -> Result<Registration, SettingsError> {
    match values.text("registration")?.as_deref() {
        None | Some("open") => Ok(Registration::Open),
        Some("verified") => Ok(Registration::Verified),
        Some(other) => Err(bad("registration", other, "`open` or `verified`")),
    }
}

fn log_format(values: &Values) -> Result<LogFormat, SettingsError> {
    match values.text("log.format")?.as_deref() {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(bad("log.format", other, "`text` or `json`")),
    }
}

fn metrics(values: &Values) -> Result<Metrics, SettingsError> {
    let must = "an address like 127.0.0.1:9464, or `off`";
    let address = |text: &str| text.trim().parse().map_err(|_| bad("metrics", text, must));
    match values.text("metrics")?.as_deref() {
        None => address(table::DEFAULT_METRICS).map(Metrics::IfFree),
        Some("off") => Ok(Metrics::Off),
        Some(text) => address(text).map(Metrics::At),
    }
}

fn traces(values: &Values) -> Result<Option<Traces>, SettingsError> {
    let must = "a number from 0 to 1";
    let text = values.text("traces.share")?.unwrap_or_else(|| table::DEFAULT_SHARE.to_owned());
    let share: f64 = text.trim().parse().map_err(|_| bad("traces.share", &text, must))?;
    if !(0.0..=1.0).contains(&share) {
        return Err(bad("traces.share", &text, must));
    }
    let endpoint = values.text("traces.endpoint")?;
    let endpoint = endpoint.map(|url| origin("traces.endpoint", &url)).transpose()?;
    Ok(endpoint.map(|endpoint| Traces { endpoint, share }))
}

fn secret(key: &str, text: &str) -> Result<Vec<u8>, SettingsError> {
    let bytes = text.trim().as_bytes().to_vec();
    if bytes.len() < SECRET_LENGTH_MIN {
        return Err(SettingsError::WeakSecret { name: name_of(key) });
    }
    if is_guessable(&bytes) {
        return Err(SettingsError::KnownSecret { name: name_of(key) });
    }
    Ok(bytes)
}

/// What stands in examples, and what was typed to be long enough.
fn is_guessable(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret).to_lowercase();
    let placeholders =
        ["changeme", "change-me", "change_me", "replace-me", "replace_me", "your-sec"];
    let repeats = |length: usize| secret.iter().zip(&secret[length..]).all(|(a, b)| a == b);
    placeholders.iter().any(|word| text.contains(word)) || (1..=16).any(repeats)
}

fn limits(values: &Values) -> Result<Limits, SettingsError> {
    let known = Limits::default();
    let bytes = |key, known: usize| -> Result<usize, SettingsError> {
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        Ok(usize::try_from(number(values, key, known)?).unwrap_or(usize::MAX))
    };
    let seconds = |key, known: Duration| -> Result<Duration, SettingsError> {
        let known = u32::try_from(known.as_secs()).unwrap_or(u32::MAX);
        Ok(Duration::from_secs(number(values, key, known)?.into()))
    };
    let quota = |limit, burst, known: Quota| -> Result<Quota, SettingsError> {
        let limit = number(values, limit, known.limit)?;
        // A burst above a limit that somebody has lowered would let a minute's worth and more by.
        Ok(Quota::per_minute(limit, number(values, burst, known.burst.min(limit))?))
    };
    Ok(Limits {
        body_bytes: bytes("limits.body_bytes", known.body_bytes)?,
        header_bytes: bytes("limits.header_bytes", known.header_bytes)?,
        json_depth: bytes("limits.json_depth", known.json_depth)?,
        body_timeout: seconds("limits.body_seconds", known.body_timeout)?,
        request_timeout: seconds("limits.request_seconds", known.request_timeout)?,
        per_ip: quota("limits.per_ip_per_minute", "limits.per_ip_burst", known.per_ip)?,
        per_tenant: quota(
            "limits.per_tenant_per_minute",
            "limits.per_tenant_burst",
            known.per_tenant,
        )?,
        shutdown_grace: seconds("limits.shutdown_seconds", known.shutdown_grace)?,
        events_kept_months: number(values, "events_kept_months", known.events_kept_months)?,
        drain: known.drain,
        lanes: Lanes {
            transactional: bytes("limits.jobs_transactional", known.lanes.transactional)?,
            standard: bytes("limits.jobs_standard", known.lanes.standard)?,
            bulk: bytes("limits.jobs_bulk", known.lanes.bulk)?,
        },
        done_jobs_kept: seconds("limits.jobs_done_kept_seconds", known.done_jobs_kept)?,
        failed_jobs_kept: seconds("limits.jobs_failed_kept_seconds", known.failed_jobs_kept)?,
    })
}

/// A whole number from 1.
fn number(values: &Values, key: &'static str, default: u32) -> Result<u32, SettingsError> {
    let must = "a whole number from 1 to 4294967295";
    match values.parsed(key, must)? {
        Some(0) => Err(bad(key, 0, must)),
        Some(number) => Ok(number),
        None => Ok(default),
    }
}
