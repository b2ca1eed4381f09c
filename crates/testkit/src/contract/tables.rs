//! What all tables hold, in few words, to see that a refused request has changed nothing.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use crate::app::TestApp;

/// Each table's rows, counted and hashed.
pub(super) type Contents = BTreeMap<String, String>;

/// Schedules tick, the outbox empties and nodes give signs of life by themselves, so none of these
/// says anything about a request; what an event leaves behind is in `core.events`.
pub(super) async fn contents(app: &TestApp) -> Contents {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and pg_get_userbyid(n.nspowner) = 'freehold_owner'
           and c.relname not in ('_migrations', 'schedules', 'outbox', 'nodes', 'job_counts',
             'job_shards')",
    )
    .fetch_all(app.sql())
    .await
    .expect("the names of all tables");
    // The sum of hashes does not depend on the order of rows.
    let each = tables.iter().map(|table| {
        format!(
            "select '{table}', count(*) || ' rows ' || coalesce(sum(hashtextextended(t::text, 0)), 0)
             from {table} t"
        )
    });
    let query = each.collect::<Vec<_>>().join(" union all ");
    let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(query))
        .persistent(false)
        .fetch_all(app.sql())
        .await
        .expect("the contents of all tables");
    rows.into_iter().collect()
}

/// The tables that are not as they were.
pub(super) fn differences(before: &Contents, after: &Contents) -> Vec<String> {
    let changed = after.iter().filter(|(table, rows)| before.get(*table) != Some(rows));
    changed.map(|(table, _)| table.clone()).collect()
}
