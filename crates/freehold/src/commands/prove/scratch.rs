//! Where it is proved: databases of one name, in a private PostgreSQL of their own or beside those of
//! an installation, whose data nobody touches.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{anyhow, bail};
use freehold_embedded_postgres::{Options, SUPERUSER, Server};
use freehold_kernel::{Migration, crypto};
use freehold_proof::databases;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection, Row};
use tempfile::TempDir;

use crate::commands::database::logins;
use crate::settings::{Logins, Settings};

/// The databases, made one by one and removed together.
pub(super) struct Scratch {
    place: Place,
    /// What the name of each begins with.
    name: String,
}

enum Place {
    Private(Box<Private>),
    /// On a server that somebody else runs: a superuser's login, and the application's.
    Beside {
        owner: String,
        logins: Logins,
    },
}

struct Private {
    server: Server,
    // Last: it goes once nobody runs in it any more.
    folder: TempDir,
}

/// How to reach one of them.
pub(super) struct Urls {
    pub(super) superuser: String,
    pub(super) logins: Logins,
}

impl Scratch {
    /// Finds the place; makes no database yet.
    pub(super) async fn make(settings: &Settings) -> anyhow::Result<Self> {
        let place = match &settings.database.owner_url {
            Some(owner) => beside(settings, owner).await?,
            None => private(settings).await?,
        };
        Ok(Self { place, name: format!("freehold_prove_{}", hex::encode(crypto::random::<4>()?)) })
    }

    /// Where it is, for whoever has asked for it.
    pub(super) fn describe(&self) -> String {
        match &self.place {
            Place::Private(private) => format!(
                "In a PostgreSQL {} of its own, in {}",
                private.server.binaries().version(),
                private.folder.path().display()
            ),
            Place::Beside { .. } => {
                format!("In databases named {}… on the server of DATABASE_OWNER_URL", self.name)
            }
        }
    }

    /// Whether its roles are nobody else's.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.place, Place::Private(_))
    }

    /// A new database in which the migrations have run.
    pub(super) async fn database(
        &self,
        what: &str,
        migrations: &[Migration],
    ) -> anyhow::Result<Urls> {
        let name = format!("{}_{what}", self.name);
        databases::make(&mut self.admin().await?, &name).await?;
        let urls = self.urls(&name)?;
        freehold_kernel::migrate(&urls.superuser, migrations).await?;
        Ok(urls)
    }

    /// Removes everything that was made.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        if let Place::Private(private) = self.place {
            return tokio::task::spawn_blocking(move || private.remove()).await?;
        }
        Ok(databases::remove_all(&mut self.admin().await?, &self.name).await?)
    }

    async fn admin(&self) -> anyhow::Result<PgConnection> {
        let url = match &self.place {
            Place::Private(private) => private.server.url(SUPERUSER, "postgres"),
            Place::Beside { owner, .. } => owner.clone(),
        };
        connect(&url).await
    }

    fn urls(&self, name: &str) -> anyhow::Result<Urls> {
        Ok(match &self.place {
            Place::Private(private) => {
                let url = |user| private.server.url(user, name);
                let logins = Logins { app: url("freehold_app"), system: url("freehold_system") };
                Urls { superuser: url(SUPERUSER), logins }
            }
            Place::Beside { owner, logins } => {
                // The server of the owner's login: the application's may be that of a pooler, which
                // knows nothing of scratch databases.
                let url = |login: &str| {
                    in_database(owner, user(login), name)
                        .ok_or_else(|| anyhow!("DATABASE_URL or DATABASE_OWNER_URL names no login"))
                };
                let logins = Logins { app: url(&logins.app)?, system: url(&logins.system)? };
                Urls { superuser: url(owner)?, logins }
            }
        })
    }
}

async fn private(settings: &Settings) -> anyhow::Result<Place> {
    // Root runs PostgreSQL as another user, who must be able to enter.
    let open = Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("freehold-prove-").permissions(open).tempdir()?;
    let options = Options {
        binaries: settings.postgres_bin.clone(),
        durable: false,
        ..Options::new(folder.path().join("data"))
    };
    let server = tokio::task::spawn_blocking(move || Server::start(&options)).await??;
    Ok(Place::Private(Box::new(Private { server, folder })))
}

impl Private {
    fn remove(self) -> anyhow::Result<()> {
        let cluster: PathBuf = self.server.cluster_dir().to_owned();
        self.server.stop()?;
        if !cluster.starts_with(self.folder.path())
            && let Some(home) = cluster.parent()
        {
            std::fs::remove_dir_all(home)?;
        }
        Ok(self.folder.close()?)
    }
}

async fn beside(settings: &Settings, owner: &str) -> anyhow::Result<Place> {
    let Some(url) = &settings.database.url else {
        bail!(
            "DATABASE_OWNER_URL is set and DATABASE_URL is not. Set it, too, to the login of \
             freehold_app; or unset both, and it is proved in a private PostgreSQL."
        );
    };
    let logins = logins(&settings.database, url)?;
    let query = "select rolsuper from pg_roles where rolname = current_user";
    let is_superuser: bool = connect(owner).await?.fetch_one(query).await?.try_get(0)?;
    if !is_superuser {
        bail!(
            "DATABASE_OWNER_URL is no superuser's login, and only a superuser sees what row-level \
             security hides. Unset it, and it is proved in a private PostgreSQL."
        );
    }
    Ok(Place::Beside { owner: owner.to_owned(), logins })
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)?.application_name("freehold prove");
    options.connect().await.map_err(|error| {
        anyhow!("the database does not answer: {error}. Check DATABASE_OWNER_URL.")
    })
}

/// Name and password in a URL.
fn user(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some(rest[..end].rsplit_once('@')?.0)
}

/// The same server and options, for this login and database.
fn in_database(url: &str, user: Option<&str>, database: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    let options = rest.find('?').map_or("", |start| &rest[start..]);
    Some(format!("{scheme}://{}@{host}/{database}{options}", user?))
}

#[cfg(test)]
mod tests {
    use super::{in_database, user};

    #[test]
    fn a_scratch_database_is_on_the_server_of_the_owners_login() {
        let owner = "postgres://root:p%40ss@db:5432/freehold?sslmode=require";
        let app = user("postgres://freehold_app:secret@pooler:6432/freehold");
        assert_eq!(app, Some("freehold_app:secret"));
        assert_eq!(
            in_database(owner, app, "scratch").as_deref(),
            Some("postgres://freehold_app:secret@db:5432/scratch?sslmode=require")
        );
        assert_eq!(
            in_database("postgres://postgres@/x?host=/run/pg", Some("freehold_app"), "s")
                .as_deref(),
            Some("postgres://freehold_app@/s?host=/run/pg")
        );
        assert_eq!(in_database("postgres:///x", user("postgres:///x"), "s"), None);
    }
}
