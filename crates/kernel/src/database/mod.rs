//! The connection pools and the roles that transactions take. The pools never leave this folder:
//! [`Tx`](crate::Tx) and its wide relatives are the only way to the database.

mod catalogue;
mod db;
mod migrate;
mod observe;
mod pool;
mod release;
mod roles;
mod survey;
mod traces;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, SqlStr};
use uuid::Uuid;

pub use catalogue::Finding;
pub use db::Db;
pub(crate) use migrate::CORE;
pub use migrate::{MigrateError, Migration, fingerprint, migrate};
pub(crate) use observe::{Backlog, PoolState};
use pool::Pool;
pub use release::SchemaError;
pub use survey::{Found, Survey, survey};
pub(crate) use traces::{forget_traces, read_traces, write_traces};

use crate::config::{Config, Pooler};
use crate::directory::TenantId;
use crate::error::Result;
use crate::tx::Opening;

/// Connections for the kernel's own work, beside those for requests.
const SYSTEM_POOL_SIZE: u32 = 8;
/// Connections beside those for transactions: one listens, one tells others and pings.
const BESIDE: u32 = 2;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// As whom a transaction runs.
#[derive(Clone, Copy)]
pub(crate) enum Access<'a> {
    /// `freehold_app` in one tenant; confined to one of the tenant's customers, if one is named.
    Tenant(TenantId, Opening, Option<&'a str>),
    /// `freehold_account`: before a tenant is known.
    Account,
    /// `freehold_platform`: operators.
    Platform,
    /// `freehold_dispatch`: the kernel's own work.
    Dispatch,
    /// The same for what is simply done again when PostgreSQL dies within the next second: its
    /// COMMIT does not wait for the disk.
    DispatchRedoable,
}

/// Both pools of a node.
pub(crate) struct Database {
    app: Arc<Pool>,
    system: Arc<Pool>,
    /// Where to listen, when the pools go through a pooler.
    direct_url: Option<String>,
    pooler: Pooler,
}

impl Database {
    /// Opens the pools and refuses logins that row-level security would not hold.
    pub(crate) async fn connect(config: &Config) -> Result<Self, sqlx::Error> {
        let app = pool(&config.database_url, config.pool_size + BESIDE).await?;
        let app = Pool::new(app, config.pool_size, ACQUIRE_TIMEOUT);
        let system = pool(&config.database_system_url, SYSTEM_POOL_SIZE + BESIDE).await?;
        let system = Pool::new(system, SYSTEM_POOL_SIZE, ACQUIRE_TIMEOUT);
        let (direct_url, pooler) = (config.database_direct_url.clone(), config.pooler);
        Ok(Self { app, system, direct_url, pooler })
    }

    /// Compares the schema with `wanted`: each schema and the number of its last file.
    pub(crate) async fn check_schema(
        &self,
        wanted: &[(&'static str, i64)],
    ) -> Result<Result<(), SchemaError>, sqlx::Error> {
        release::check(self.system.connections(), wanted).await
    }

    /// What is wrong with the logins and the tables; nothing when this database is safe to use.
    pub(crate) async fn inspect(&self) -> Result<Vec<Finding>, sqlx::Error> {
        let mut findings =
            roles::inspect(self.app.connections(), self.system.connections()).await?;
        findings.extend(catalogue::inspect(self.app.connections()).await?);
        Ok(findings)
    }

    /// Begins a transaction in one round trip. The pool does not ping before it hands out a
    /// connection; one that turns out to be dead is replaced.
    pub(crate) async fn begin(&self, access: Access<'_>) -> Result<Db> {
        let pool = match access {
            Access::Tenant(..) => &self.app,
            _ => &self.system,
        };
        let lease = pool.begin(&opening_statement(access)).await?;
        let read_only = matches!(access, Access::Tenant(_, Opening::ReadOnly, _));
        Ok(Db::new(lease, read_only, self.pooler))
    }

    /// Whether the database answers. A simple query: outside of a transaction a pooler may give
    /// each step of any other to another connection.
    pub(crate) async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("select 1").execute(self.app.connections()).await.map(drop)
    }

    /// Listens; `None` where a pooler would hear in our place.
    pub(crate) async fn listen(&self, channel: &str) -> Result<Option<PgListener>, sqlx::Error> {
        let mut listener = match (&self.direct_url, self.pooler) {
            (Some(url), _) => PgListener::connect_with(&pool(url, 1).await?).await?,
            (None, Pooler::None) => PgListener::connect_with(self.system.connections()).await?,
            (None, Pooler::Transaction) => return Ok(None),
        };
        listener.listen(channel).await?;
        Ok(Some(listener))
    }

    /// Wakes listeners. In a statement of its own, never inside a business transaction: a pending
    /// NOTIFY takes a lock on the whole instance at commit.
    pub(crate) async fn notify(&self, channel: &str, node: Uuid) -> Result<(), sqlx::Error> {
        // A simple query, as in `ping`: a word of ours and a UUID, so that there is nothing to escape.
        let tell = AssertSqlSafe(format!("select pg_notify('{channel}', '{node}')"));
        sqlx::raw_sql(tell).execute(self.system.connections()).await.map(drop)
    }

    pub(crate) async fn close(&self) {
        self.app.close().await;
        self.system.close().await;
    }
}

async fn pool(url: &str, size: u32) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(Duration::from_secs(30 * 60))
        .test_before_acquire(false)
        .connect_with(options(url)?)
        .await
}

fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name("freehold"))
}

const DISPATCH: &str = "begin; set local role freehold_dispatch";

/// Dispatching takes a few rows by their keys out of tables that fill up between one ANALYZE and
/// the next. PostgreSQL keeps the plans of prepared statements, and one that it made while a table
/// was empty reads all of the table for ever: measured, 2 ms for each of a batch of 60 rows. Nested
/// loops alone are left; that they begin with the keys is said by finding rows first, in
/// a lateral with a limit, and changing them by their `ctid`. With that the values no longer matter, and
/// planning anew for them, as PostgreSQL else does, took longer than the statements themselves.
const BY_KEY: &str = "set local enable_seqscan = off; set local enable_hashjoin = off; \
                      set local enable_mergejoin = off; \
                      set local plan_cache_mode = force_generic_plan";

/// BEGIN, and who the transaction is, in one simple query. The values are a UUID, a number of ours
/// and a customer's name letter by letter, so there is nothing to escape.
fn opening_statement(access: Access<'_>) -> SqlStr {
    let statement = match access {
        Access::Tenant(tenant, opening, customer) => {
            let mode = if opening == Opening::ReadOnly { " read only" } else { "" };
            let tenant = format!("begin{mode}; set local app.tenant_id = '{}'", tenant.uuid());
            match customer {
                Some(customer) => {
                    format!("{tenant}; set local app.customer = {}", spelled(customer))
                }
                // Not set is empty: the policies take both for everybody else.
                None => tenant,
            }
        }
        Access::Account => "begin; set local role freehold_account".to_owned(),
        Access::Platform => "begin; set local role freehold_platform".to_owned(),
        Access::Dispatch => format!("{DISPATCH}; {BY_KEY}"),
        Access::DispatchRedoable => {
            format!("{DISPATCH}; {BY_KEY}; set local synchronous_commit = off")
        }
    };
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(statement))
}

/// Text as a literal of code points, whatever it says and however the server reads a backslash.
fn spelled(text: &str) -> String {
    let letters: String =
        text.chars().map(|letter| format!("\\U{:08X}", u32::from(letter))).collect();
    format!("E'{letters}'")
}
