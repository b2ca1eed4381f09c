//! The connection pools and the roles that transactions take. The pools never leave this folder:
//! [`Tx`](crate::Tx) and its wide relatives are the only way to the database.

mod catalogue;
mod db;
mod migrate;
mod observe;
mod roles;
mod traces;

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, SqlStr};

pub use catalogue::Finding;
pub use db::Db;
pub(crate) use migrate::CORE;
pub use migrate::{MigrateError, Migration, fingerprint, migrate};
pub(crate) use observe::{Backlog, PoolState};
pub(crate) use traces::{forget_traces, read_traces, write_traces};

use crate::config::{Config, Pooler};
use crate::directory::TenantId;
use crate::error::Result;
use crate::tx::Opening;

/// Connections for the kernel's own work, beside those for requests.
const SYSTEM_POOL_SIZE: u32 = 8;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// As whom a transaction runs.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// `freehold_app` in one tenant.
    Tenant(TenantId, Opening),
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
    app: PgPool,
    system: PgPool,
    pooler: Pooler,
    /// How often a transaction found no idle connection, by pool.
    waits: [AtomicU64; 2],
}

impl Database {
    /// Opens the pools and refuses logins that row-level security would not hold.
    pub(crate) async fn connect(config: &Config) -> Result<Self, sqlx::Error> {
        let app = pool(&config.database_url, config.pool_size).await?;
        let system = pool(&config.database_system_url, SYSTEM_POOL_SIZE).await?;
        Ok(Self { app, system, pooler: config.pooler, waits: Default::default() })
    }

    /// What is wrong with the logins and the tables; nothing when this database is safe to use.
    pub(crate) async fn inspect(&self) -> Result<Vec<Finding>, sqlx::Error> {
        let mut findings = roles::inspect(&self.app, &self.system).await?;
        findings.extend(catalogue::inspect(&self.app).await?);
        Ok(findings)
    }

    /// Begins a transaction in one round trip. The pool does not ping before it hands out a
    /// connection; one that turns out to be dead is replaced.
    pub(crate) async fn begin(&self, access: Access) -> Result<Db> {
        let (pool, waits) = match access {
            Access::Tenant(..) => (&self.app, &self.waits[0]),
            _ => (&self.system, &self.waits[1]),
        };
        if pool.num_idle() == 0 {
            waits.fetch_add(1, Ordering::Relaxed);
        }
        // After a restart of PostgreSQL every idle connection is dead and says so only when it is
        // used. A dead one leaves the pool, so that trying as many as there are ends with a new one.
        let mut dead = pool.size();
        let transaction = loop {
            match pool.begin_with(opening_statement(access)).await {
                Err(error) if dead > 0 && has_lost_connection(&error) => dead -= 1,
                other => break other?,
            }
        };
        let read_only = matches!(access, Access::Tenant(_, Opening::ReadOnly));
        Ok(Db::new(transaction, read_only, self.pooler))
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("select 1").persistent(false).execute(&self.app).await.map(drop)
    }

    pub(crate) async fn listen(&self, channel: &str) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.system).await?;
        listener.listen(channel).await?;
        Ok(listener)
    }

    /// Wakes listeners. In a statement of its own, never inside a business transaction: a pending
    /// NOTIFY takes a lock on the whole instance at commit.
    pub(crate) async fn notify(&self, channel: &str, payload: &str) -> Result<(), sqlx::Error> {
        sqlx::query("select pg_notify($1, $2)")
            .bind(channel)
            .bind(payload)
            .persistent(false)
            .execute(&self.system)
            .await
            .map(drop)
    }

    pub(crate) async fn close(&self) {
        self.app.close().await;
        self.system.close().await;
    }
}

/// Whether the connection had ended before the statement got through: cut off, or told to go by an
/// administrator (57P01), a crash (57P02) or a time limit (57P05).
fn has_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(refusal) => {
            matches!(refusal.code().as_deref(), Some("57P01" | "57P02" | "57P05"))
        }
        _ => false,
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
/// was empty reads all of the table for ever: measured, 2 ms for each of a batch of 60 rows.
const BY_KEY: &str = "set local enable_seqscan = off; set local enable_hashjoin = off; \
                      set local enable_mergejoin = off";

/// BEGIN, and who the transaction is, in one simple query. The values are a UUID and a number of
/// ours, so there is nothing to escape.
fn opening_statement(access: Access) -> SqlStr {
    let statement = match access {
        Access::Tenant(tenant, Opening::ReadOnly) => {
            format!("begin read only; set local app.tenant_id = '{}'", tenant.uuid())
        }
        Access::Tenant(tenant, Opening::ReadWrite) => {
            format!("begin; set local app.tenant_id = '{}'", tenant.uuid())
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
