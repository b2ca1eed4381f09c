//! A database for each mutant: copies of one in which two tenants have lived.

use freehold_kernel::Config;
use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use uuid::Uuid;

use crate::{Error, Result, Subject};

/// The database that is copied. Nobody may be connected to it while it is.
pub struct Original {
    config: Config,
    name: String,
    superuser: PgConnectOptions,
}

/// A copy, and how to reach it. Removed by [`Copy::remove`].
pub(super) struct Copy {
    pub(super) config: Config,
    pub(super) superuser: PgPool,
    name: String,
    admin: PgConnectOptions,
}

impl Original {
    /// The database of an application, which ends with this: its server must have stopped.
    ///
    /// # Errors
    /// When its name cannot be found out.
    pub async fn of(subject: &Subject) -> Result<Self> {
        let superuser = PgConnectOptions::clone(&subject.superuser.connect_options());
        let name: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&subject.superuser)
            .await?;
        subject.app.stop().await;
        subject.superuser.close().await;
        Ok(Self { config: subject.app.config().clone(), name, superuser })
    }

    /// One more copy.
    pub(super) async fn copy(&self) -> Result<Copy> {
        let id = Uuid::now_v7().simple().to_string();
        // Named after the original: whoever made that one sweeps up what begins with its name.
        let name = format!("{}{}", self.name, &id[id.len() - 12..]);
        let admin = self.superuser.clone().database("postgres");
        let made = format!("create database {name} template {} strategy file_copy", self.name);
        admin.connect().await?.execute(AssertSqlSafe(made)).await?;
        let superuser = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(self.superuser.clone().database(&name));
        let mut config = self.config.clone();
        config.database_url = renamed(&config.database_url, &name)?;
        config.database_system_url = renamed(&config.database_system_url, &name)?;
        if let Some(direct) = &mut config.database_direct_url {
            *direct = renamed(direct, &name)?;
        }
        Ok(Copy { config, superuser, name, admin })
    }
}

impl Copy {
    pub(super) async fn remove(self) -> Result<()> {
        self.superuser.close().await;
        let gone = format!("drop database if exists {} with (force)", self.name);
        self.admin.connect().await?.execute(AssertSqlSafe(gone)).await?;
        Ok(())
    }
}

/// The same URL for another database.
fn renamed(url: &str, database: &str) -> Result<String> {
    let mut url = parsed(url)?;
    url.set_path(database);
    Ok(url.into())
}

/// The same URL for sessions of the superuser that have become somebody else, whom the server need
/// not let in.
pub(super) fn as_role(url: &str, role: &str) -> Result<String> {
    let mut url = parsed(url)?;
    let nobody = |()| Error::Missing("the application's DATABASE_URL has no login".to_owned());
    url.set_username("postgres").map_err(nobody)?;
    url.query_pairs_mut().append_pair("options", &format!("-c role={role}"));
    Ok(url.into())
}

fn parsed(url: &str) -> Result<Url> {
    url.parse().map_err(|_| Error::Missing("the application's DATABASE_URL is no URL".to_owned()))
}
