//! Unchecked SQL, unfinished code, unwraps.

use crate::{right, wrong};

#[test]
fn sql_is_checked_by_the_build() {
    for code in [
        "fn f() { sqlx::query(\"select 1\"); }",
        "fn f() { sqlx::query_as::<_, A>(\"select 1\"); }",
        "use sqlx::{query_scalar, Row};\nfn f() { query_scalar(\"select 1\"); }",
        "fn f() { sqlx::raw_sql(\"select 1\"); }",
        "fn f(a: String) { run(sqlx::AssertSqlSafe(a)); }",
        "fn f() { sqlx::query_unchecked!(\"select 1\"); }",
    ] {
        let text = format!("//! Some.\n{code}\n");
        let line = text.lines().count();
        wrong(
            &[("modules/quota/src/some.rs", &text)],
            &format!("modules/quota/src/some.rs:{line}: `"),
        );
        right(&[
            ("crates/kernel/src/database/some.rs", &text),
            ("crates/kernel/src/migrate.rs", &text),
            ("crates/testkit/src/some.rs", &text),
            ("modules/quota/tests/it/main.rs", &text),
        ]);
    }
}

#[test]
fn a_function_of_our_own_called_query_is_no_sql() {
    right(&[(
        "modules/quota/src/some.rs",
        "//! Some.\nfn query(a: u8) {}\nfn g(r: R) { r.query(1); query(2); graph::query(3); }\n",
    )]);
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    for name in ["todo", "unimplemented", "dbg"] {
        let text = format!("//! Some.\nfn f() {{\n    {name}!(\"x\")\n}}\n");
        wrong(
            &[("modules/quota/tests/it/main.rs", &text)],
            &format!("modules/quota/tests/it/main.rs:3: `{name}!` is left"),
        );
    }
    right(&[("modules/quota/src/a.rs", "//! todo!(1)\n// dbg!(2)\nfn f() { g(\"todo!(3)\") }\n")]);
}

#[test]
fn only_tests_unwrap() {
    let code = "//! Some.\nfn f() {\n    g().unwrap();\n}\n";
    wrong(&[("modules/quota/src/a.rs", code)], "modules/quota/src/a.rs:3: `.unwrap()`");
    let not_test = "//! Some.\n#[cfg(not(test))]\nmod a { fn f() { g().unwrap(); } }\n";
    wrong(&[("modules/quota/src/a.rs", not_test)], "modules/quota/src/a.rs:3: `.unwrap()`");
    let in_macro = "//! Some.\nfn f() { h!(g().unwrap()); }\n";
    wrong(&[("modules/quota/src/a.rs", in_macro)], "modules/quota/src/a.rs:2: `.unwrap()`");
    right(&[
        ("modules/quota/tests/it/main.rs", code),
        ("modules/quota/src/a.rs", "//! Some.\n#[cfg(test)]\nmod t { fn f() { g().unwrap(); } }\n"),
        ("modules/quota/src/b.rs", "//! Some.\n#[tokio::test]\nasync fn t() { g().unwrap(); }\n"),
        ("modules/quota/src/c.rs", "//! `.unwrap()`\nfn f() { g().unwrap_or(1); }\n"),
    ]);
}
