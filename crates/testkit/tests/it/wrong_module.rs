//! Modules without tenant rules, wrong on purpose: none of them starts, so no test of theirs passes,
//! and what they are told says which table or route it is and what to do.

use std::borrow::Cow;

use freehold_kernel::{Json, Module, PUBLIC, Result, Routes, StartError, SystemRole, Tx, endpoint};
use freehold_testkit::TestApp;
use serde::Serialize;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use utoipa::ToSchema;

use crate::fixture;

/// What somebody wrote into a migration, and what they are told.
const TABLES: &[(&str, &str)] = &[
    (
        "create table wrong.nameless (tenant_id uuid primary key, note text)",
        "wrong.nameless has no class; say `comment on table wrong.nameless is 'tenant: …'` (or global, \
         claims, reference, infrastructure), and for a tenant's rows core.tenant_table('wrong.nameless')",
    ),
    (
        "create table wrong.misfiled (tenant_id uuid primary key, note text);
         comment on table wrong.misfiled is 'reference: notes';
         grant select on wrong.misfiled to freehold_app",
        "wrong.misfiled has a tenant_id and freehold_app may read it; say `tenant: …` in its comment and \
         call core.tenant_table('wrong.misfiled'), or revoke what freehold_app may",
    ),
    (
        "create table wrong.optional (tenant_id uuid, note text);
         comment on table wrong.optional is 'tenant: notes';
         select core.tenant_table('wrong.optional')",
        "wrong.optional is a tenant table without `tenant_id uuid not null`; add it, first in the table \
         and in its primary key",
    ),
    (
        "create table wrong.unforced (tenant_id uuid primary key, note text);
         comment on table wrong.unforced is 'tenant: notes';
         select core.tenant_table('wrong.unforced');
         alter table wrong.unforced no force row level security",
        "row-level security is not enabled and forced on wrong.unforced; call \
         core.tenant_table('wrong.unforced')",
    ),
    (
        "create table wrong.unconfined (tenant_id uuid primary key, customer text);
         comment on table wrong.unconfined is 'tenant: notes';
         select core.tenant_table('wrong.unconfined')",
        "wrong.unconfined: freehold_app must have exactly the canonical policy; call \
         core.tenant_table('wrong.unconfined') and write no policy by hand, but for the one, as on \
         webhooks.endpoints, that a column `customer` needs",
    ),
    (
        "create table wrong.unguarded (tenant_id uuid primary key, note text);
         comment on table wrong.unguarded is 'tenant: notes';
         alter table wrong.unguarded enable row level security;
         alter table wrong.unguarded force row level security;
         grant select on wrong.unguarded to freehold_app",
        "wrong.unguarded: freehold_app must have exactly the canonical policy; call \
         core.tenant_table('wrong.unguarded') and write no policy by hand, but for the one, as on \
         webhooks.endpoints, that a column `customer` needs",
    ),
    (
        "create table wrong.telltale (tenant_id uuid, id uuid, email text constraint telltale_email unique,
           primary key (tenant_id, id));
         comment on table wrong.telltale is 'tenant: notes';
         select core.tenant_table('wrong.telltale')",
        "wrong.telltale index wrong.telltale_email: every key and index of a tenant table begins with \
         tenant_id (claims: only their primary key may not); put it first, and keep what is unique in the \
         whole installation in core.claims",
    ),
    (
        "create table wrong.slow (tenant_id uuid, amount numeric, primary key (tenant_id, amount));
         comment on table wrong.slow is 'tenant: notes';
         select core.tenant_table('wrong.slow')",
        "wrong.slow.amount: under row-level security an index on this type is not used (its operators \
         are not leakproof); store text, bigint, uuid, bytea or timestamptz",
    ),
    (
        "create table wrong.busy (tenant_id uuid primary key, note text);
         comment on table wrong.busy is 'tenant: notes';
         select core.tenant_table('wrong.busy');
         create trigger tidy before update on wrong.busy
           for each row execute function suppress_redundant_updates_trigger()",
        "wrong.busy tidy is a trigger on a tenant table, which sharding refuses; do it in the statement \
         that writes, or in a subscriber to its event",
    ),
    (
        "create table wrong.emptied (tenant_id uuid primary key, note text);
         comment on table wrong.emptied is 'tenant: notes';
         select core.tenant_table('wrong.emptied');
         grant truncate on wrong.emptied to freehold_app",
        "freehold_app may truncate wrong.emptied; revoke it: it has select, insert, update, delete and \
         nothing else",
    ),
    (
        "create table wrong.shared (note text);
         comment on table wrong.shared is 'global: notes of everybody';
         grant select, insert on wrong.shared to freehold_app",
        "freehold_app may write wrong.shared; revoke it, or make it a tenant table: global and reference \
         tables are not its to write",
    ),
    (
        "create table wrong.parted (tenant_id uuid, at date, primary key (tenant_id, at))
           partition by range (at);
         comment on table wrong.parted is 'tenant: notes';
         select core.tenant_table('wrong.parted');
         create table wrong.parted_default partition of wrong.parted default;
         comment on table wrong.parted_default is 'tenant: notes';
         grant select on wrong.parted_default to freehold_app",
        "a role of ours has rights on wrong.parted_default, a partition; revoke them and read through the \
         parent, whose policy they would bypass",
    ),
    (
        "create view wrong.everybody as select note from wrong.emptied;
         grant select on wrong.everybody to freehold_app",
        "view wrong.everybody shows every tenant; create it with (security_invoker = true)",
    ),
    (
        "create function wrong.all_notes() returns setof text language sql security definer
           as 'select note from wrong.emptied';
         revoke execute on function wrong.all_notes() from public",
        "function wrong.all_notes() runs with its owner's rights and must fix its search_path; add \
         `set search_path = …` to it",
    ),
    (
        "create function wrong.any_note() returns setof text language sql security definer
           set search_path = pg_catalog as 'select note from wrong.emptied'",
        "function wrong.any_note() runs with its owner's rights and freehold_app may call it; revoke that, \
         or say in its comment why it reaches no other tenant: `comment on function wrong.any_note() is \
         'freehold_app: …'`",
    ),
];

/// The module of these tables, with a route that reads through the view.
fn tables() -> Module {
    let sql = std::iter::once("grant usage on schema wrong to freehold_app")
        .chain(TABLES.iter().map(|(sql, _)| *sql))
        .collect::<Vec<_>>();
    let sql = AssertSqlSafe(sql.join(";\n")).into_sql_str();
    let file = Migration::new(1, Cow::Borrowed("wrong"), MigrationType::Simple, sql, false);
    let files = Migrator { migrations: Cow::Owned(vec![file]), ..Migrator::DEFAULT };
    Module::new("wrong")
        .migrations(Box::leak(Box::new(files)))
        .resource("note", "notes")
        .permission("notes:read", "See notes", &[SystemRole::Owner])
        .routes(Routes::at("/api/v1/notes").get("/", "notes:read", read))
}

/// Somebody's notes.
#[derive(Serialize, ToSchema)]
#[schema(as = wrong::Notes)]
struct Notes {
    /// What they wrote.
    notes: Vec<String>,
}

/// Read notes, whoever wrote them.
#[endpoint]
async fn read(mut tx: Tx) -> Result<Json<Notes>> {
    let notes = sqlx::query_scalar("select note from wrong.everybody").fetch_all(tx.db()).await?;
    Ok(Json(Notes { notes }))
}

#[tokio::test]
async fn a_module_with_tables_without_tenant_rules_is_told_what_to_do_about_each() {
    let started = TestApp::with([fixture::module(), tables()]).try_start().await;
    let Err(StartError::Unsafe(findings)) = started.map(drop) else {
        panic!("a module with wrong tables must not start");
    };
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let wanted: Vec<&str> = TABLES.iter().map(|(_, sentence)| *sentence).collect();
    assert_eq!(said, wanted, "one sentence for each table, and none for those of others");
}

#[tokio::test]
async fn a_module_with_routes_without_tenant_rules_is_told_what_to_do_about_each() {
    let module = Module::new("wrong")
        .resource("note", "notes")
        .permission("notes:read", "See notes", &[])
        .routes(
            Routes::at("/api/v1/notes")
                .get("/", "notes:read", read)
                .get("/public", PUBLIC, read)
                .get("/misspelled", "notes:raed", read),
        );
    let Err(error) = TestApp::with([module]).try_start().await else {
        panic!("a module with wrong routes must not start");
    };
    assert_eq!(
        error.to_string(),
        "the modules do not fit together:\n  \
         permission notes:read: no role holds it; name one in .permission(…)\n  \
         GET /api/v1/notes/public: a public route has no tenant, so it cannot take a Tx; give it a \
         permission, or take Cx\n  \
         GET /api/v1/notes/misspelled: nobody declares the permission notes:raed; declare it with \
         .permission(…), or correct the route"
    );
}
