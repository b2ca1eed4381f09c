//! Brings a schema up to date and finds out what that took.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::anyhow;
use freehold_kernel::Migration;
use sqlx::{Connection, Executor, PgConnection, Row};

/// How many migrations have run, by schema. The tables are found in the catalogue, so that one
/// statement asks them all, also before the first of them is there.
const COUNT: &str = "
    select n.nspname::text as schema,
      (xpath('//n/text()', query_to_xml(
        format('select count(*) as n from %I._migrations where success', n.nspname), true, false, ''
      )))[1]::text::bigint as ran
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = '_migrations' and c.relkind = 'r'";

/// What was done to one schema.
pub(super) struct Done {
    schema: &'static str,
    before: i64,
    after: i64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after - self.before {
            0 => write!(f, "{}: nothing to do, all {} have run before", self.schema, self.after),
            ran => write!(f, "{}: {ran} of {} ran now", self.schema, self.after),
        }
    }
}

/// Migrates, and says what ran in the order in which it did.
pub(super) async fn bring_up_to_date(
    owner_url: &str,
    migrations: &[Migration],
) -> anyhow::Result<Vec<Done>> {
    let before = counts(owner_url).await?;
    freehold_kernel::migrate(owner_url, migrations).await.map_err(|error| {
        anyhow!("The schema could not be brought up to date. {}", capital(&error.to_string()))
    })?;
    let after = counts(owner_url).await?;
    let schemas = std::iter::once("core").chain(migrations.iter().map(|each| each.schema));
    let count = |counts: &BTreeMap<String, i64>, schema| counts.get(schema).copied().unwrap_or(0);
    Ok(schemas
        .map(|schema| Done { schema, before: count(&before, schema), after: count(&after, schema) })
        .collect())
}

async fn counts(owner_url: &str) -> anyhow::Result<BTreeMap<String, i64>> {
    let mut connection = PgConnection::connect(owner_url).await.map_err(|error| {
        anyhow!("The database does not answer: {error}. Check DATABASE_OWNER_URL.")
    })?;
    let rows = connection.fetch_all(COUNT).await.map_err(|error| {
        anyhow!("The migrations that have run cannot be counted: {error}. Is this an administrator's login?")
    })?;
    connection.close().await?;
    rows.iter().map(|row| Ok((row.try_get("schema")?, row.try_get("ran")?))).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(char::to_uppercase).into_iter().flatten().chain(letters).collect()
}
