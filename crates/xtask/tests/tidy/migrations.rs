//! Migrations stay in their schema, state classes, and begin keys with the tenant.

use crate::{right, wrong};

const PATH: &str = "modules/quota/migrations/0001_quota.sql";

#[track_caller]
fn bad(sql: &str, message: &str) {
    wrong(&[(PATH, sql)], &format!("{PATH}:{message}"));
}

#[track_caller]
fn good(sql: &str) {
    right(&[(PATH, sql)]);
}

/// A tenant table with these further columns and constraints.
fn table(further: &str) -> String {
    format!(
        "-- A table; of tenants.\n\
         create table quota.a (tenant_id uuid not null, id uuid not null, {further});\n\
         comment on table quota.a is 'tenant: some';\nselect core.tenant_table('quota.a');\n"
    )
}

const KEY: &str = "primary key (tenant_id, id)";

#[test]
fn a_module_makes_things_in_its_own_schema_only() {
    bad("create schema billing;", "1: the schema `billing` is not the module's own");
    bad("\ncreate index on billing.a (id);", "2: `billing.a` is not in");
    bad("create view v as select 1;", "1: `v` is not in the module's own schema");
    bad("alter table core.tenants add column x int;", "1: `core.tenants` is not in");
    bad("create function core.f() returns int language sql as $$ select 1 $$;", "1: `core.f`");
    bad("drop table billing.a;", "1: `billing.a` is not in the module's own schema");
    bad(
        "create table billing.a (id uuid primary key);\ncomment on table billing.a is 'global: a';",
        "1: `billing.a` is not in",
    );
    good("create schema quota;\ncreate view quota.v as select id from core.tenants;");
}

#[test]
fn a_migration_reads_no_other_module() {
    bad("update quota.a set x = (select y from billing.a);", "1: `billing.a` is not a table of");
    good("update quota.a set x = (select y from core.tenants);");
}

#[test]
fn foreign_keys_point_to_core_or_the_own_schema() {
    let to = |target: &str| table(&format!("b uuid references {target} (id), {KEY}"));
    bad(&to("billing.b"), "2: a foreign key points to `billing.b`");
    bad(&to("b"), "2: a foreign key points to `b`");
    let declared = "foreign key (tenant_id, b) references billing.b (tenant_id, id)";
    bad(&table(&format!("b uuid, {KEY}, {declared}")), "2: a foreign key points to `billing.b`");
    bad(
        &format!("alter table quota.a add constraint a_b_fkey {declared};"),
        "1: a foreign key points to `billing.b`",
    );
    good(&to("core.tenants"));
    good(&to("quota.b"));
    let partly = "foreign key (tenant_id, b) references billing.b on delete set null (b)";
    bad(&table(&format!("b uuid, {KEY}, {partly}")), "2: a foreign key points to `billing.b`");
}

#[test]
fn a_migration_does_not_ask_for_the_time() {
    let at = |default: &str| table(&format!("at timestamptz not null\n  default {default}, {KEY}"));
    bad(&at("now()"), "3: a module's migration says `now`");
    bad(&at("clock_timestamp()"), "3: a module's migration says `clock_timestamp`");
    good(&at("'-infinity'"));
    right(&[("crates/kernel/migrations/0001_core.sql", &at("now()").replace("quota.", "core."))]);
}

#[test]
fn nobody_makes_an_enum() {
    let sql = "-- Some.\ncreate type core.state as enum ('a');";
    let path = "crates/kernel/migrations/0001_core.sql";
    wrong(&[(path, sql)], &format!("{path}:2: an enum's index"));
    good("create type quota.pair as (a int, b int);");
}

#[test]
fn a_table_states_its_class() {
    let plain = "create table quota.a (id uuid primary key);\n";
    bad(plain, "1: `quota.a` does not state its class");
    bad(
        &format!("{plain}comment on table quota.a is 'odd: some';"),
        "1: `quota.a` does not state its class",
    );
    for class in ["tenant", "global", "claims", "reference", "infrastructure"] {
        good(&format!("{plain}comment on table quota.a is '{class}: some';"));
    }
    right(&[
        (PATH, plain),
        ("modules/quota/migrations/0002_later.sql", "comment on table quota.a is 'global: some';"),
    ]);
}

#[test]
fn the_primary_key_of_a_tenant_table_begins_with_the_tenant() {
    bad(&table("primary key (id, tenant_id)"), "2: the primary key of `quota.a`");
    bad(&table("other uuid primary key"), "2: the primary key of `quota.a`");
    bad(&table("other uuid"), "2: the primary key of `quota.a`");
    good(&table(KEY));
    good(&format!("{}alter table quota.a add primary key (tenant_id, id);", table("other uuid")));
    good(&table("primary key (id)").replace("'tenant:", "'claims:"));
}

#[test]
fn unique_keys_of_a_tenant_table_begin_with_the_tenant() {
    bad(&table(&format!("{KEY}, unique (id)")), "2: a unique key of `quota.a` begins with `id`");
    bad(&table(&format!("name text unique, {KEY}")), "2: a unique key of `quota.a`");
    good(&table(&format!("{KEY}, unique (tenant_id, id)")));
}

#[test]
fn an_index_on_a_tenant_table_begins_with_the_tenant() {
    let with = |index: &str| format!("{}{index}", table(KEY));
    bad(
        &with("create unique index a_id on quota.a (id, tenant_id);"),
        "5: an index on the tenant table `quota.a` begins with `id`",
    );
    bad(&with("create index on quota.a (lower(id::text));"), "5: an index on the tenant table");
    good(&with("create index a_id on quota.a (tenant_id, id desc) where id is not null;"));
}

#[test]
fn what_cannot_be_parsed_is_skipped_and_the_rest_is_not() {
    let function = "create function quota.f() returns trigger language plpgsql as $f$\n\
                    begin; alter odd; end $f$;\ncreate odd thing;\n";
    bad(&format!("{function}create schema billing;"), "4: the schema `billing`");
    good(function);
}
