//! Whether the schema and this program fit together. A program works on the schema of its own
//! release and of the one after it, so that nodes can be replaced one by one: what a release takes
//! away, the release before it has stopped using.

use sqlx::{PgConnection, PgPool, Row};

/// The releases that changed a schema, by their version, in order; the last one is this program.
/// Patch releases change no schema.
const RELEASES: [&str; 1] = ["0.1"];

/// The number of this program's release.
fn ours() -> i32 {
    i32::try_from(RELEASES.len()).unwrap_or(i32::MAX)
}

/// Why a program must not touch a database, in words that say both versions and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Nothing has run yet.
    #[error(
        "the database is empty: Freehold's schema is not in it. Set DATABASE_OWNER_URL to an \
         administrator's login and type: freehold migrate"
    )]
    Missing,
    /// Something has not run yet.
    #[error(
        "the database has the schema of Freehold {theirs}, and this program is Freehold {}, which \
         needs more ({missing}). Set DATABASE_OWNER_URL to an administrator's login and type: \
         freehold migrate",
        env!("CARGO_PKG_VERSION")
    )]
    Older {
        /// The release that has migrated last.
        theirs: String,
        /// The schemas that lack something, with what they have and what they need.
        missing: String,
    },
    /// A release has migrated that may have taken away what this one uses.
    #[error(
        "the database has the schema of Freehold {theirs}, and this program is Freehold {}, more \
         than one release older: it would not find what it uses. Run Freehold {theirs}. `freehold \
         migrate` never goes back; to go back, restore a backup",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The release that has migrated last.
        theirs: String,
    },
}

/// A release as the database notes it.
struct Release {
    number: i32,
    version: String,
}

/// Compares the schema with `wanted`: each schema and the number of its last file.
pub(crate) async fn check(
    system: &PgPool,
    wanted: &[(&'static str, i64)],
) -> Result<Result<(), SchemaError>, sqlx::Error> {
    let mut tx = system.begin_with("begin; set local role freehold_dispatch").await?;
    let found = look(&mut tx, wanted).await;
    tx.rollback().await?;
    found
}

async fn look(
    db: &mut PgConnection,
    wanted: &[(&'static str, i64)],
) -> Result<Result<(), SchemaError>, sqlx::Error> {
    if !exists(db, FUNCTION, "core.schema_version(text)").await? {
        // The first migrations could not say how far they had come.
        return Ok(Err(if exists(db, TABLE, "core.tenants").await? {
            let theirs = "before this could be told".to_owned();
            SchemaError::Older { theirs, missing: "core".to_owned() }
        } else {
            SchemaError::Missing
        }));
    }
    let theirs = newest(db).await?;
    if let Some(theirs) = theirs.as_ref().filter(|theirs| theirs.number > ours() + 1) {
        return Ok(Err(SchemaError::Newer { theirs: theirs.version.clone() }));
    }
    let missing = missing(db, wanted).await?;
    if missing.is_empty() {
        return Ok(Ok(()));
    }
    let theirs = theirs.map_or_else(|| "an early build".to_owned(), |theirs| theirs.version);
    Ok(Err(SchemaError::Older { theirs, missing: missing.join(", ") }))
}

/// Whether a migration of this program would take place on a newer schema. By an administrator's
/// connection.
pub(super) async fn is_ahead(db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let theirs = newest(db).await?;
    Ok(theirs.filter(|theirs| theirs.number > ours()).map(|theirs| theirs.version))
}

/// Notes that this program's migrations have run. By an administrator's connection.
pub(super) async fn note(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into core.releases (number, version) values ($1, $2)
         on conflict (number) do update set version = excluded.version
           where releases.version <> excluded.version",
    )
    .bind(ours())
    .bind(env!("CARGO_PKG_VERSION"))
    .execute(db)
    .await
    .map(drop)
}

async fn newest(db: &mut PgConnection) -> Result<Option<Release>, sqlx::Error> {
    if !exists(db, TABLE, "core.releases").await? {
        return Ok(None);
    }
    let newest = "select number, version from core.releases order by number desc limit 1";
    let row = sqlx::query(newest).persistent(false).fetch_optional(db).await?;
    row.map(|row| Ok(Release { number: row.try_get(0)?, version: row.try_get(1)? })).transpose()
}

/// The schemas in which not everything has run, with what has and what should have.
async fn missing(
    db: &mut PgConnection,
    wanted: &[(&'static str, i64)],
) -> Result<Vec<String>, sqlx::Error> {
    let (schemas, versions): (Vec<&str>, Vec<i64>) = wanted.iter().copied().unzip();
    sqlx::query_scalar(
        "select format('%s has %s of %s', w.name, w.has, w.version)
         from (
           select name, version, coalesce(core.schema_version(name), 0) as has
           from unnest($1::text[], $2::bigint[]) as u (name, version)
         ) as w
         where w.has < w.version",
    )
    .bind(schemas)
    .bind(versions)
    .persistent(false)
    .fetch_all(db)
    .await
}

const TABLE: &str = "select to_regclass($1) is not null";
const FUNCTION: &str = "select to_regprocedure($1) is not null";

/// Whether the catalogue knows a name.
async fn exists(
    db: &mut PgConnection,
    look_up: &'static str,
    name: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(look_up).bind(name).persistent(false).fetch_one(db).await
}

#[cfg(test)]
mod tests {
    use super::RELEASES;

    #[test]
    fn the_last_release_of_the_list_is_this_program() {
        let version = env!("CARGO_PKG_VERSION");
        let minor = version.rsplit_once('.').map(|(minor, _)| minor);
        assert_eq!(minor, RELEASES.last().copied(), "a new release goes to the end of RELEASES");
    }
}
