//! The database of `up`: the private PostgreSQL below its folder, or one that is named.

use anyhow::anyhow;
use freehold_embedded_postgres::{Options, SUPERUSER, Server};
use freehold_kernel::{MigrateError, Migration};
use sqlx::{Connection, Executor, PgConnection};

use super::folder::Folder;
use crate::say;
use crate::settings::{DatabaseSettings, Logins, Settings};

/// The database inside the private PostgreSQL.
pub(super) const NAME: &str = "freehold";

/// A database that can be reached, and the folder beside it.
pub(super) struct Database {
    /// Ours to stop; `None` for a database that somebody else runs.
    server: Option<Server>,
    pub(super) folder: Folder,
    pub(super) logins: Logins,
    owner_url: Option<String>,
}

impl Database {
    /// Starts the private PostgreSQL, or takes the database that is named.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        match &settings.database.url {
            Some(url) => Self::named(settings, url),
            None => Self::private(settings).await,
        }
    }

    async fn private(settings: &Settings) -> anyhow::Result<Self> {
        let options =
            Options { binaries: settings.postgres_bin.clone(), ..Options::new(&settings.data_dir) };
        let server = tokio::task::spawn_blocking(move || Server::start(&options)).await??;
        server.notices().iter().for_each(|notice| say::line(notice));
        Ok(Self {
            folder: Folder::existing(server.data_dir()),
            logins: Logins {
                app: server.url("freehold_app", NAME),
                system: server.url("freehold_system", NAME),
            },
            owner_url: Some(server.url(SUPERUSER, NAME)),
            server: Some(server),
        })
    }

    fn named(settings: &Settings, url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            server: None,
            folder: Folder::make(&settings.data_dir)?,
            logins: logins(&settings.database, url)?,
            owner_url: settings.database.owner_url.clone(),
        })
    }

    /// Whether nothing was ever kept in it, as far as we can tell: a private PostgreSQL gets its
    /// database only after the secrets that belong to it are on disk.
    pub(super) async fn is_new(&self) -> anyhow::Result<bool> {
        let Some(server) = &self.server else { return Ok(true) };
        let mut connection = maintenance(server).await?;
        let found = connection
            .fetch_optional("select from pg_database where datname = 'freehold'")
            .await
            .map_err(|error| anyhow!("PostgreSQL cannot say which databases it has: {error}"))?;
        connection.close().await?;
        Ok(found.is_none())
    }

    /// Makes the private database.
    pub(super) async fn make(&self) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let mut connection = maintenance(server).await?;
        match connection.execute("create database freehold").await {
            // A first start that was killed may still be at it: the server outlives its client.
            Err(sqlx::Error::Database(refusal))
                if matches!(refusal.code().as_deref(), Some("42P04" | "23505")) => {}
            made => {
                made.map_err(|error| anyhow!("PostgreSQL cannot make a database: {error}"))?;
            }
        }
        connection.close().await?;
        Ok(())
    }

    /// Whether somebody else runs it.
    pub(super) fn is_named(&self) -> bool {
        self.server.is_none()
    }

    /// Brings the schema up to date, where we may.
    pub(super) async fn migrate(&self, migrations: &[Migration]) -> anyhow::Result<()> {
        let Some(owner_url) = &self.owner_url else { return Ok(()) };
        match freehold_kernel::migrate(owner_url, migrations).await {
            // One release newer is well; the start that follows decides.
            Ok(()) | Err(MigrateError::Newer { .. }) => Ok(()),
            Err(error) => Err(anyhow!("the schema could not be brought up to date: {error}")),
        }
    }

    /// Stops what we have started.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Some(server) = self.server else { return Ok(()) };
        Ok(tokio::task::spawn_blocking(move || server.stop()).await??)
    }
}

async fn maintenance(server: &Server) -> anyhow::Result<PgConnection> {
    let url = server.url(SUPERUSER, "postgres");
    PgConnection::connect(&url)
        .await
        .map_err(|error| anyhow!("the private PostgreSQL does not answer: {error}"))
}

/// Both logins of a database that is named by the first.
pub(super) fn logins(settings: &DatabaseSettings, url: &str) -> anyhow::Result<Logins> {
    let system = match &settings.system_url {
        Some(system) => system.clone(),
        None => as_user(url, "freehold_system").ok_or_else(|| {
            anyhow!(
                "DATABASE_URL does not have the form postgres://freehold_app:PASSWORD@HOST/NAME, \
                 so the login of freehold_system cannot be derived. Set DATABASE_SYSTEM_URL, too."
            )
        })?,
    };
    Ok(Logins { app: url.to_owned(), system })
}

/// The same URL with another user and the same password.
fn as_user(url: &str, user: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (login, host) = rest[..end].rsplit_once('@')?;
    let password = login.split_once(':').map(|(_, password)| format!(":{password}"));
    Some(format!("{scheme}://{user}{}@{host}{}", password.unwrap_or_default(), &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::as_user;

    #[test]
    fn the_second_login_is_the_first_with_another_name() {
        let other = |url| as_user(url, "freehold_system");
        assert_eq!(
            other("postgres://freehold_app:p%40ss@db:5432/freehold?sslmode=require").as_deref(),
            Some("postgres://freehold_system:p%40ss@db:5432/freehold?sslmode=require")
        );
        assert_eq!(
            other("postgres://freehold_app@db/x").as_deref(),
            Some("postgres://freehold_system@db/x")
        );
        assert_eq!(other("postgres:///x?user=freehold_app"), None);
    }
}
