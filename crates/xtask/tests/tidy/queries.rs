//! SQL in macros: whose tables it names and which words it says.

use crate::{right, wrong};

fn file(sql: &str) -> String {
    format!(
        "//! Some.\nfn f() {{\n    sqlx::query!(\n        r#\"{sql}\"#,\n        a,\n    );\n}}\n"
    )
}

#[track_caller]
fn wrong_in_a_module(sql: &str, message: &str) {
    let text = file(sql);
    wrong(&[("modules/quota/src/a.rs", &text)], &format!("modules/quota/src/a.rs:4: {message}"));
}

#[track_caller]
fn right_in_a_module(sql: &str) {
    right(&[("modules/quota/src/a.rs", &file(sql))]);
}

#[test]
fn sql_names_no_other_module() {
    wrong_in_a_module("select id from billing.plans", "`billing.plans` belongs to another schema");
    wrong_in_a_module("select billing.price($1)", "`billing.price` belongs to another schema");
    wrong_in_a_module(
        "select p.id from quota.limits l join billing.plans p on p.id = l.plan_id",
        "`billing.plans` belongs",
    );
    right_in_a_module("select l.id from quota.limits l, core.tenants t, pg_catalog.pg_class c");
    right_in_a_module("select core.search($1), count(*), l.a from quota.search($1) l");
}

#[test]
fn the_kernel_names_no_module() {
    let text = file("select id from billing.plans");
    wrong(&[("crates/kernel/src/a.rs", &text)], "crates/kernel/src/a.rs:4: `billing.plans`");
    right(&[("crates/kernel/src/a.rs", &file("select id from core.events"))]);
}

#[test]
fn tables_are_named_with_their_schema() {
    wrong_in_a_module("select id from limits", "the table `limits` is named without its schema");
    wrong_in_a_module("insert into limits (id) values ($1)", "the table `limits`");
    right_in_a_module(
        "with recursive x as (select id from quota.limits union all select id from x)
         select x.id from x join unnest($1::uuid[]) as given(id) on given.id = x.id",
    );
}

#[test]
fn every_macro_of_sqlx_is_read() {
    for call in [
        "query_as!(A, \"select id from a\")",
        "query_scalar!(r\"select id from a\", 1)",
        "query!(\"select id \" + \"from a\")",
        "sqlx::query_as!(crate::A, r#\"select id from a\"#, x)",
    ] {
        let text = format!("//! Some.\nfn f() {{ {call}; }}\n");
        wrong(&[("modules/quota/src/a.rs", &text)], "modules/quota/src/a.rs:2: the table `a`");
    }
}

#[test]
fn a_file_with_sql_is_read_too() {
    let text = "//! Some.\nfn f() { sqlx::query_file!(\"sql/a.sql\", 1); }\n";
    let source = ("modules/quota/src/a.rs", text);
    wrong(
        &[source, ("modules/quota/sql/a.sql", "select id from a")],
        "modules/quota/sql/a.sql:1: the table `a`",
    );
    wrong(&[source], "modules/quota/sql/a.sql:1: the file of this query cannot be read");
    right(&[source, ("modules/quota/sql/a.sql", "select id from quota.a")]);
}

#[test]
fn modules_do_not_ask_the_database_for_the_time() {
    for (expression, word) in [
        ("now()", "now"),
        ("current_timestamp", "current_timestamp"),
        ("current_date", "current_date"),
        ("clock_timestamp ()", "clock_timestamp"),
        ("statement_timestamp()", "statement_timestamp"),
    ] {
        let sql = format!("select id from quota.a where at < {expression}");
        wrong_in_a_module(&sql, &format!("module SQL says `{word}`"));
        right(&[("crates/kernel/src/a.rs", &file(&sql.replace("quota.a", "core.jobs")))]);
    }
    right_in_a_module("select a.now, 'now()' from quota.a a -- not now()");
}

#[test]
fn modules_do_not_touch_settings() {
    wrong_in_a_module("select set_config($1, $2, true)", "module SQL says `set_config`");
    wrong_in_a_module("select current_setting('x')", "module SQL says `current_setting`");
    right_in_a_module("update quota.a set name = $1");
}

#[test]
fn modules_say_nothing_but_select_insert_update_delete() {
    for word in ["set", "truncate", "lock"] {
        let rest = match word {
            "set" => "local x = 1",
            "truncate" => "table quota.a",
            _ => "table quota.a in exclusive mode -- tidy: unparsed because a lock",
        };
        let message = format!("module SQL begins with `{word}`");
        wrong_in_a_module(&format!("{word} {rest}"), &message);
    }
    wrong_in_a_module("set role freehold_platform", "module SQL begins with `set`");
    right_in_a_module("with a as (select 1) select 1 from a");
}

#[test]
fn sql_that_cannot_be_parsed_says_why() {
    wrong_in_a_module("select from from quota.a where", "the SQL cannot be parsed");
    wrong_in_a_module(
        "-- tidy: unparsed because\nselect from from quota.a where",
        "the SQL cannot be parsed",
    );
    right_in_a_module("-- tidy: unparsed because a test\nselect from from quota.a where");
}

#[test]
fn a_comment_does_not_swallow_the_statement() {
    let text = |end: &str| format!("//! S.\nfn f() {{ query!(\"-- why{end}\nselect 1\"); }}\n");
    let path = "crates/kernel/src/a.rs";
    // A backslash at the end of a line takes the line break out of a Rust string.
    wrong(&[(path, &text("\\"))], &format!("{path}:2: the SQL is nothing but a comment"));
    right(&[(path, &text(""))]);
}

#[test]
fn stored_queries_can_be_parsed() {
    let stored = |sql: &str| format!("{{\"db_name\": \"PostgreSQL\", \"query\": \"{sql}\"}}");
    let kernel = ("crates/kernel/src/lib.rs", "//! Kernel.\n");
    wrong(
        &[kernel, (".sqlx/query-1.json", &stored("select from from a where"))],
        ".sqlx/query-1.json:1: the SQL cannot be parsed",
    );
    right(&[
        kernel,
        (".sqlx/query-1.json", &stored("select id from a")),
        (".sqlx/query-2.json", &stored("-- tidy: unparsed because a test\\nselect from from")),
    ]);
}
