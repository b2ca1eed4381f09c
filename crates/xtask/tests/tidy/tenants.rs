//! Every tenant table in a statement carries a predicate on its tenant.

use crate::{right, wrong};

const MIGRATION: (&str, &str) = (
    "crates/kernel/migrations/0001_core.sql",
    "select core.tenant_table('core.tenants');\n\
     select core.tenant_table( 'quota.a', dispatch => 'select'), core.tenant_table('quota.b');\n",
);

fn file(sql: &str) -> String {
    format!("//! Some.\nfn f() {{ sqlx::query!(r#\"{sql}\"#); }}\n")
}

#[track_caller]
fn loose(sql: &str, message: &str) {
    let text = file(sql);
    wrong(
        &[MIGRATION, ("modules/quota/src/a.rs", &text)],
        &format!("modules/quota/src/a.rs:2: {message}"),
    );
}

#[track_caller]
fn tied(sql: &str) {
    right(&[MIGRATION, ("modules/quota/src/a.rs", &file(sql))]);
}

#[test]
fn a_select_names_its_tenant() {
    loose("select id from quota.a where id = $1", "`quota.a` is used without `a.tenant_id = $1`");
    loose("select id from quota.a where tenant_id = $2 and id = $1", "`quota.a` is used without");
    loose("select x.id from quota.a x where tenant_id = $1 or true", "`quota.a` is used without");
    loose("select x.id from quota.a x where x.tenant_id <> $1", "`quota.a` is used without");
    loose("select x.id from quota.a x where x.tenant_id = x.id", "`quota.a` is used without");
    tied("select id from quota.a where tenant_id = $1");
    tied("select x.id from quota.a as x where (x.id = $2) and ($1::uuid = x.tenant_id)");
    tied("select quota.a.id from quota.a where quota.a.tenant_id = $1 for update skip locked");
    tied("select id from quota.a where (tenant_id, id) = ($1, $2)");
    tied("select id from quota.not_of_a_tenant");
}

#[test]
fn each_joined_table_is_tied_to_the_tenant() {
    let join = |on: &str| {
        format!("select x.id from quota.a x join quota.b y on {on} where x.tenant_id = $1")
    };
    loose(&join("y.id = x.id"), "`quota.b` is used without `y.tenant_id = $1`");
    tied(&join("y.tenant_id = x.tenant_id and y.id = x.id"));
    tied(&join("(y.tenant_id, y.id) = (x.tenant_id, x.id)"));
    tied("select x.id from quota.a x join quota.b y using (tenant_id, id) where x.tenant_id = $1");
    tied(
        "select x.id from quota.a x, quota.b y
         where y.tenant_id = x.tenant_id and y.tenant_id = $1",
    );
}

#[test]
fn the_condition_of_a_left_join_ties_its_right_side_only() {
    loose(
        "select x.id from quota.a x left join quota.b y on y.tenant_id = $1 and x.tenant_id = $1",
        "`quota.a` is used without",
    );
    tied(
        "select x.id from quota.a x left join quota.b y on y.tenant_id = x.tenant_id
         where x.tenant_id = $1",
    );
}

#[test]
fn a_subquery_is_tied_by_itself_or_through_the_query_around_it() {
    loose(
        "select x.id from quota.a x where x.tenant_id = $1
         and exists (select 1 from quota.b y where y.id = x.id)",
        "`quota.b` is used without",
    );
    loose(
        "select x.id from quota.a x where exists
         (select 1 from quota.b y where y.tenant_id = $1 and x.tenant_id = $1)",
        "`quota.a` is used without",
    );
    tied(
        "select x.id, (select count(*) from quota.b y where y.tenant_id = x.tenant_id) as \"n!\"
         from quota.a x where x.tenant_id = $1",
    );
}

#[test]
fn every_branch_of_a_union_is_tied() {
    loose(
        "select id from quota.a where tenant_id = $1 union all select id from quota.b",
        "`quota.b` is used without",
    );
    tied(
        "select id from quota.a where tenant_id = $1
         union select id from quota.b where tenant_id = $1",
    );
}

#[test]
fn a_with_query_carries_the_tenant() {
    loose("with w as (select id from quota.a) select id from w", "`quota.a` is used without");
    loose(
        "with w as (select id from quota.c)
         select b.id from quota.b b join w on w.tenant_id = b.tenant_id",
        "`quota.b` is used without",
    );
    tied(
        "with w as (select tenant_id, id from quota.a where tenant_id = $1 limit 5)
         update quota.b b set name = $2 from w where b.tenant_id = w.tenant_id and b.id = w.id",
    );
    tied(
        "select b.id from quota.b b 
         join (select $1::uuid as tenant_id) g on g.tenant_id = b.tenant_id",
    );
}

#[test]
fn updates_and_deletes_name_their_tenant() {
    loose("update quota.a set tenant_id = $1 where id = $2", "`quota.a` is used without");
    loose("delete from quota.a where id = $1", "`quota.a` is used without");
    loose(
        "delete from quota.a x using quota.b y where x.tenant_id = $1",
        "`quota.b` is used without",
    );
    tied("update quota.a set name = $3 where tenant_id = $1 and id = $2 returning id");
    tied("delete from quota.a x using quota.b y where x.tenant_id = $1 and y.tenant_id = $1");
}

#[test]
fn an_insert_lists_the_tenant() {
    loose("insert into quota.a (id) values ($1)", "the insert into `quota.a` does not list");
    loose("insert into quota.a values ($1, $2)", "the insert into `quota.a` does not list");
    loose(
        "insert into quota.a (tenant_id, id) select tenant_id, id from quota.b",
        "`quota.b` is used without",
    );
    tied(
        "insert into quota.a (tenant_id, id) values ($1, $2)
         on conflict (tenant_id, id) do update set name = excluded.name",
    );
    tied(
        "insert into quota.a (tenant_id, id)
         select tenant_id, id from quota.b where tenant_id = $1",
    );
}

#[test]
fn what_only_postgres_knows_costs_a_statement_no_check() {
    loose("select id from quota.a for no key update", "`quota.a` is used without");
    loose(
        "insert into quota.a (id) values ($1) on conflict (id) where b is null do nothing",
        "the insert into `quota.a` does not list",
    );
    tied("select id from quota.a where tenant_id = $1 for no key update skip locked");
}

#[test]
fn the_table_of_tenants_is_tied_by_its_id() {
    loose("select name from core.tenants where slug = $1", "`core.tenants` is used without");
    tied("select name from core.tenants where tenant_id = $1");
    tied(
        "select t.name from core.tenants t join quota.a x on x.tenant_id = t.tenant_id where t.tenant_id = $1",
    );
}

#[test]
fn a_statement_across_tenants_says_why_and_stands_where_it_can_run() {
    let sql = "-- tidy: across tenants because a sweep\nselect id from quota.a";
    loose(sql, "the SQL says `tidy: across tenants`, but no transaction");
    loose("-- tidy: across tenants because\nselect id from quota.a", "`quota.a` is used without");
    let text = file(sql).replace("fn f()", "fn f(tx: &mut PlatformTx)");
    right(&[MIGRATION, ("modules/quota/src/a.rs", &text)]);
    let kernel = file(&sql.replace("quota.a", "core.tenants"));
    right(&[MIGRATION, ("crates/kernel/src/a.rs", &kernel)]);
}
