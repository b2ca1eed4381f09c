//! `freehold up`: everything on this computer, with nothing to set up first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use freehold_egress::{Egress, Options, Policy};
use freehold_identity::NewOperator;
use freehold_kernel::{App, Duties, Server, StartError, migrations};
use hyper::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;

use super::credentials::{Credentials, Person};
use super::database::Database;
use super::stop::Stop;
use super::{address, loopback, metrics};
use crate::settings::Settings;
use crate::{ModuleSettings, modules, say};

/// Serves until somebody says stop.
pub(crate) async fn up(settings: Settings) -> anyhow::Result<()> {
    let began = Instant::now();
    // First of all: the one thing that goes wrong often, found in a millisecond.
    let address = address::settle(settings.listen)?;
    let collectors = metrics::listen(settings.metrics).await?;
    let stop = Stop::listen()?;
    let database = match Database::open(&settings).await {
        // Ctrl-C on the terminal reaches initdb, too, and its complaint is no news to anybody.
        Err(_) if stop.is_asked() => return Ok(()),
        other => other?,
    };
    let outcome = serve(&settings, &database, address, collectors, &stop, began).await;
    let stopped = database.stop().await;
    outcome.and(stopped)
}

async fn serve(
    settings: &Settings,
    database: &Database,
    address: SocketAddr,
    collectors: Option<TcpListener>,
    stop: &Stop,
    began: Instant,
) -> anyhow::Result<()> {
    let prepared = tokio::select! {
        prepared = Box::pin(prepare(settings, database, address)) => prepared?,
        () = stop.clone().asked() => return Ok(()),
    };
    let Prepared { app, server, mut credentials } = prepared;
    metrics::serve(&app, collectors)?;
    let mut serving = tokio::spawn(server.run(stop.clone().asked()));
    if !credentials.shown {
        match finish_first_start(&mut credentials, database, address).await {
            Err(error) if !stop.is_asked() => return Err(error),
            _ => {}
        }
    }
    say::line(&format!(
        "Freehold is ready at {} ({:.1} s)",
        settings.public_url(address.port()),
        began.elapsed().as_secs_f32()
    ));
    tokio::select! {
        ended = &mut serving => ended?,
        () = stop.clone().insisted() => {}
    }
    serving.abort();
    Ok(())
}

/// A socket that listens, and what the end of the start needs.
struct Prepared {
    app: Arc<App>,
    server: Server,
    credentials: Credentials,
}

/// Everything between a database and a socket that listens.
async fn prepare(
    settings: &Settings,
    database: &Database,
    address: SocketAddr,
) -> anyhow::Result<Prepared> {
    let folder = &database.folder;
    let is_new = database.is_new().await?;
    let secret_key = match &settings.secret_key {
        Some(key) => key.clone(),
        None => folder.secret_key(is_new)?,
    };
    let credentials = Credentials::of(folder, is_new, settings.demo)?;
    if is_new {
        database.make().await?;
    }
    let operator = credentials.operator.as_ref().filter(|_| !credentials.shown);
    let identity = freehold_identity::Settings {
        registration: settings.registration,
        operator: operator.map(|person| NewOperator {
            email: person.email.clone(),
            name: "Operator".to_owned(),
            password: person.password.clone(),
        }),
        ..freehold_identity::Settings::default()
    };
    let modules =
        modules(ModuleSettings { identity, webhooks: settings.webhooks }, egress(settings)?);
    database.migrate(&migrations(&modules)).await?;
    let logins = database.logins.clone();
    let config = settings.kernel_config(Duties::Everything, logins, secret_key, address.port());
    let app = App::start(config, modules).await.map_err(|error| explain(&error, database))?;
    let server =
        Server::bind(app.clone(), address).await.map_err(|e| address::refusal(address, &e))?;
    Ok(Prepared { app, server, credentials })
}

/// On a developer's machine, receivers of webhooks are on the same machine. Said aloud, because it
/// is not so in production.
fn egress(settings: &Settings) -> anyhow::Result<Egress> {
    let policy = Policy { allowed: settings.egress.allowed.clone(), ..Policy::development() };
    policy.notices().iter().for_each(|notice| say::line(notice));
    Ok(Egress::new(Options { policy, ..Options::default() })?)
}

/// A database of one's own may lack the roles, and PostgreSQL only says that nobody may log in.
fn explain(error: &StartError, database: &Database) -> anyhow::Error {
    match error {
        StartError::Database(_) if database.is_named() => anyhow!(
            "{error} If this database has never been migrated, set DATABASE_OWNER_URL to an \
             administrator's login: `freehold up` then migrates by itself"
        ),
        other => anyhow!("{other}"),
    }
}

/// Makes the demo tenant, shows who can sign in, and remembers that it was done. Every step may
/// have happened before in a start that was cut short.
async fn finish_first_start(
    credentials: &mut Credentials,
    database: &Database,
    address: SocketAddr,
) -> anyhow::Result<()> {
    if let Some(person) = &credentials.demo
        && !make_demo(address, person).await?
    {
        credentials.demo = None;
    }
    if let Some(person) = &credentials.operator
        && database.is_named()
        && !signs_in(address, person).await?
    {
        // The database had an operator before it had us.
        credentials.operator = None;
    }
    if credentials.operator.is_some() || credentials.demo.is_some() {
        say::line(&credentials.text(&database.folder));
    }
    credentials.shown = true;
    credentials.write(&database.folder)
}

/// Registers the demo tenant; says whether it is this person's.
async fn make_demo(address: SocketAddr, person: &Person) -> anyhow::Result<bool> {
    let registration = json!({
        "email": person.email, "password": person.password, "name": "Dana Demo",
        "tenantName": "Demo", "tenantSlug": "demo",
    });
    match loopback::post(address, "/api/v1/auth/register", &registration).await? {
        StatusCode::CREATED => Ok(true),
        StatusCode::CONFLICT => signs_in(address, person).await,
        refused => {
            tracing::warn!(%refused, "no demo tenant was made; register one yourself");
            Ok(false)
        }
    }
}

async fn signs_in(address: SocketAddr, person: &Person) -> anyhow::Result<bool> {
    let login = json!({"email": person.email, "password": person.password});
    Ok(loopback::post(address, "/api/v1/auth/login", &login).await?.is_success())
}
