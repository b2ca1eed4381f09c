//! What `freehold doctor` asks of a database: everything a start would find out, without starting,
//! and what a start does not look at. Nothing is changed, and a part that fails hides no other.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Row};

use super::release::{self, SchemaError};
use super::{BESIDE, Finding, SYSTEM_POOL_SIZE, catalogue, options, pool, roles};
use crate::assembly::versions;
use crate::config::Config;
use crate::crypto::Keyring;
use crate::housekeeping::UnknownKeys;
use crate::module::Module;
use crate::time::Timestamp;

/// For each answer; a firewall that swallows packets gives none.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found.
pub struct Survey {
    /// Whether one can log in with `DATABASE_URL`.
    pub app: Result<(), sqlx::Error>,
    /// Whether one can log in with `DATABASE_SYSTEM_URL`.
    pub system: Result<(), sqlx::Error>,
    /// Whether one can log in with `DATABASE_DIRECT_URL`, and has a session of one's own there.
    pub direct: Option<Result<bool, sqlx::Error>>,
    /// The rest, if both logins work.
    pub found: Option<Result<Found, sqlx::Error>>,
}

/// What a database that can be asked says.
pub struct Found {
    /// PostgreSQL's version, as in `150004`.
    pub version: i32,
    /// How many connections PostgreSQL gives to all who log in as we do.
    pub connections: i64,
    /// How many of them this node takes.
    pub wanted: i64,
    /// How far this machine's clock and the database's are apart.
    pub clocks_apart: Duration,
    /// Whether something between us and PostgreSQL gives one session to several clients.
    pub shares_sessions: bool,
    /// What makes the logins unfit.
    pub logins: Vec<Finding>,
    /// Why the schema does not fit this program.
    pub schema: Option<SchemaError>,
    /// What would break isolation; nothing is looked at in a schema that does not fit.
    pub tables: Vec<Finding>,
    /// Keys that are needed and were not given.
    pub unknown_keys: Option<UnknownKeys>,
}

/// Asks a database everything.
pub fn survey<'a>(
    config: &'a Config,
    modules: &[Module],
) -> impl Future<Output = Survey> + Send + use<'a> {
    // Modules stay with one thread; what is asked of them is known before anybody waits.
    ask(config, versions(modules))
}

async fn ask(config: &Config, wanted: Vec<(&'static str, i64)>) -> Survey {
    let (app, system) = (&config.database_url, &config.database_system_url);
    let (can_app, can_system) = (can_log_in(app).await, can_log_in(system).await);
    let direct = match &config.database_direct_url {
        Some(url) => Some(shares_sessions(url).await.map(|shares| !shares)),
        None => None,
    };
    let found = match (&can_app, &can_system) {
        (Ok(()), Ok(())) => Some(look(config, &wanted).await),
        _ => None,
    };
    Survey { app: can_app, system: can_system, direct, found }
}

async fn look(config: &Config, wanted: &[(&'static str, i64)]) -> Result<Found, sqlx::Error> {
    let app = pool(&config.database_url, 1).await?;
    let system = pool(&config.database_system_url, 1).await?;
    let schema = match release::check(&system, wanted).await {
        Ok(fits) => fits.err(),
        // The roles are there, and what a migration grants them is not.
        Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some("42501") => {
            Some(SchemaError::Missing)
        }
        Err(error) => return Err(error),
    };
    let (tables, unknown_keys) = match &schema {
        None => (catalogue::inspect(&app).await?, missing_keys(config, &system).await?),
        Some(_) => (Vec::new(), None),
    };
    let (version, connections, clocks_apart) = server(config, &app).await?;
    Ok(Found {
        version,
        connections,
        wanted: i64::from(config.pool_size + SYSTEM_POOL_SIZE + 2 * BESIDE),
        clocks_apart,
        shares_sessions: shares_sessions(&config.database_url).await?,
        logins: roles::inspect(&app, &system).await?,
        schema,
        tables,
        unknown_keys,
    })
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = options(url)?;
    let connecting = PgConnection::connect_with(&options);
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    tokio::time::timeout(PATIENCE, connecting).await.map_err(late)?
}

async fn can_log_in(url: &str) -> Result<(), sqlx::Error> {
    connect(url).await?.close().await
}

/// Two connections at the same time have two backends, unless a pooler lends them the same one.
async fn shares_sessions(url: &str) -> Result<bool, sqlx::Error> {
    let (mut one, mut two) = (connect(url).await?, connect(url).await?);
    // A simple query each: a pooler may take what was prepared for something new.
    let first = sqlx::raw_sql("select pg_backend_pid()").fetch_one(&mut one).await?;
    let second = sqlx::raw_sql("select pg_backend_pid()").fetch_one(&mut two).await?;
    let same = first.try_get::<i32, _>(0)? == second.try_get::<i32, _>(0)?;
    one.close().await?;
    two.close().await?;
    Ok(same)
}

/// Version, connections for the likes of us, and how far its clock is from ours.
async fn server(config: &Config, app: &PgPool) -> Result<(i32, i64, Duration), sqlx::Error> {
    let mut tx = app.begin_with("begin read only").await?;
    let row = sqlx::query(
        "select current_setting('server_version_num')::int, clock_timestamp(),
           (select min(most) from (values
             (current_setting('max_connections')::bigint
                - current_setting('superuser_reserved_connections')::bigint
                - coalesce(current_setting('reserved_connections', true)::bigint, 0)),
             ((select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user)::bigint),
             ((select nullif(datconnlimit, -1) from pg_database
               where datname = current_database())::bigint)
           ) as l (most))",
    )
    .persistent(false)
    .fetch_one(&mut *tx)
    .await?;
    let (ours, theirs): (_, Timestamp) = (config.clock.now(), row.try_get(1)?);
    tx.rollback().await?;
    Ok((row.try_get(0)?, row.try_get(2)?, ours.since(theirs).max(theirs.since(ours))))
}

async fn missing_keys(
    config: &Config,
    system: &PgPool,
) -> Result<Option<UnknownKeys>, sqlx::Error> {
    if config.secret_key.is_empty() {
        return Ok(None);
    }
    let keyring = Keyring::new(&config.secret_key, &config.secret_key_previous);
    let mut tx = system.begin_with(super::DISPATCH).await?;
    // Without a name: a pooler may stand between.
    let unknown = sqlx::query_scalar("select id from core.secret_keys where id <> all($1)")
        .bind(keyring.key_ids().iter().map(|id| id.to_vec()).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(&mut *tx)
        .await?;
    tx.rollback().await?;
    Ok(UnknownKeys::among(unknown))
}
