//! Migrations: the kernel's first, then each module's in the order of the list, each in a schema
//! of its own with a table of its own that says what has run.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

use super::release;
use super::roles::MAKE_ROLES;

/// The SQL files of the kernel or of a module: `sqlx::migrate!()` and where they go.
pub struct Migration {
    /// The schema, which is the module's name (the kernel's is `core`).
    pub schema: &'static str,
    /// The files.
    pub files: &'static Migrator,
}

pub(crate) static CORE: Migrator = sqlx::migrate!();

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database cannot be reached or refused a statement.
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
    /// A newer program has been here, and there is no way back.
    #[error(
        "it is of Freehold {theirs}, newer than this program ({}), which therefore changes nothing",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The release that has migrated last.
        theirs: String,
    },
    /// A file failed, or a file that has run was edited afterwards.
    #[error("schema {schema}: {error}")]
    Migration {
        /// Whose.
        schema: &'static str,
        /// What sqlx says.
        error: sqlx::migrate::MigrateError,
    },
}

/// Makes missing roles and runs what has not run yet. `owner_url` logs in as somebody who may make
/// roles and act as `freehold_owner`: a superuser, or a managed database's administrator.
///
/// # Errors
/// What PostgreSQL refused, and in which schema.
pub async fn migrate(owner_url: &str, modules: &[Migration]) -> Result<(), MigrateError> {
    let options = PgConnectOptions::from_str(owner_url)?.application_name("freehold migrate");
    let mut connection = PgConnection::connect_with(&options).await?;
    connection.execute(MAKE_ROLES).await?;
    // A migration that cannot get its lock gives way to the application rather than queue before it.
    connection.execute("set lock_timeout = '5s'").await?;
    connection.execute("grant freehold_owner to current_user").await?;
    connection
        .execute("do $$ begin execute format('grant create, connect on database %I to freehold_owner', current_database()); end $$")
        .await?;
    connection.execute("set role freehold_owner").await?;
    if let Some(theirs) = release::is_ahead(&mut connection).await? {
        return Err(MigrateError::Newer { theirs });
    }
    let core = Migration { schema: "core", files: &CORE };
    for migration in std::iter::once(&core).chain(modules) {
        run(&mut connection, migration).await?;
    }
    release::note(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Names everything that [`migrate`] would run: databases made under one fingerprint are alike.
#[must_use]
pub fn fingerprint(modules: &[Migration]) -> [u8; 32] {
    let core = Migration { schema: "core", files: &CORE };
    let mut parts = vec![MAKE_ROLES.as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()];
    for migration in std::iter::once(&core).chain(modules) {
        parts.push(migration.schema.as_bytes());
        parts.extend(migration.files.iter().map(|file| &*file.checksum));
    }
    crate::crypto::sha256(&parts)
}

async fn run(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    let schema = migration.schema;
    let files = Migrator {
        migrations: migration.files.migrations.clone(),
        table_name: Cow::Owned(format!("{schema}._migrations")),
        create_schemas: Cow::Owned(vec![Cow::Borrowed(schema)]),
        ..Migrator::DEFAULT
    };
    let mut tries = 0;
    loop {
        match files.run_direct(None, connection, false).await {
            Ok(()) => return Ok(()),
            // Another node is migrating or holds a lock for a moment.
            Err(error) if tries < 5 && is_lock_timeout(&error) => {
                tries += 1;
                tracing::warn!(schema, tries, "waiting for a lock before migrating");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(MigrateError::Migration { schema, error }),
        }
    }
}

fn is_lock_timeout(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    let (Execute(sqlx::Error::Database(refusal))
    | ExecuteMigration(sqlx::Error::Database(refusal), _)) = error
    else {
        return false;
    };
    refusal.code().as_deref() == Some("55P03")
}
