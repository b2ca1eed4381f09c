//! Names and sizes of files, sizes of functions, first lines, lower-case SQL.

use crate::{right, wrong};

#[test]
fn a_file_has_at_most_500_lines() {
    let long = format!("//! Long.\n{}", "\n".repeat(500));
    wrong(&[("crates/kernel/src/lib.rs", &long)], "crates/kernel/src/lib.rs:501: 501 lines");
    let short = format!("//! Short.\n{}", "\n".repeat(499));
    right(&[("crates/kernel/src/lib.rs", &short)]);
}

#[test]
fn the_kernel_has_a_budget_of_lines_of_code() {
    let of = |constants: usize| {
        let constants = (0..constants).map(|n| format!("// Why.\nconst C{n}: u8 = 0;\n\n"));
        constants.collect::<String>()
    };
    let files: Vec<(String, String)> = (0..100)
        .map(|n| {
            let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", of(30));
            (format!("crates/kernel/src/c{n}.rs"), format!("//! C.\n{}{tests}", of(117)))
        })
        .collect();
    let mut files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    right(&files);
    files.push(("crates/kernel/src/lib.rs", "//! Over.\nconst OVER: u8 = 0;\n"));
    wrong(&files, "crates/kernel/src/lib.rs:1: 11701 lines of code are more than");
}

#[test]
fn a_typescript_file_has_at_most_500_lines_unless_it_is_generated() {
    let long = "\n".repeat(501);
    wrong(&[("console/src/app.tsx", &long)], "console/src/app.tsx:501: 501 lines");
    right(&[("console/src/client.generated.ts", &long), ("console/generated/api.ts", &long)]);
}

#[test]
fn a_rust_file_says_first_what_it_is_for() {
    wrong(
        &[("modules/quota/src/periods.rs", "//! Periods.\nfn {\n")],
        "modules/quota/src/periods.rs:1: this is not valid Rust",
    );
    wrong(&[("modules/quota/src/periods.rs", "use std::fmt;\n")], "modules/quota/src/periods.rs:1");
    right(&[
        ("modules/quota/src/periods.rs", "//! Periods.\n"),
        ("modules/quota/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"),
    ]);
}

#[test]
fn only_a_crate_root_takes_its_first_line_from_the_readme() {
    wrong(
        &[("modules/quota/src/a.rs", "#![doc = include_str!(\"../README.md\")]\n")],
        "modules/quota/src/a.rs:1: the first line does not say",
    );
}

#[test]
fn a_function_has_at_most_70_lines_in_tests_too() {
    let function =
        |lines: usize| format!("//! F.\n#[test]\nfn long() {{{}}}\n", "\n".repeat(lines));
    let long = function(70);
    wrong(
        &[("modules/quota/tests/it/main.rs", &long)],
        "modules/quota/tests/it/main.rs:3: `long` has 71 lines",
    );
    let method = format!("//! M.\nimpl X {{\nfn long() {{{}}}\n}}\n", "\n".repeat(70));
    wrong(&[("modules/quota/src/m.rs", &method)], "modules/quota/src/m.rs:3: `long` has 71 lines");
    let short = function(69);
    right(&[("modules/quota/tests/it/main.rs", &short)]);
}

#[test]
fn no_file_and_no_folder_has_an_empty_name() {
    for (path, named) in [
        ("modules/quota/src/utils.rs", "modules/quota/src/utils.rs"),
        ("modules/quota/src/helpers/periods.rs", "modules/quota/src/helpers"),
        ("modules/quota/sql/misc.sql", "modules/quota/sql/misc.sql"),
    ] {
        wrong(&[(path, "//! Some.\n")], &format!("{named}:1: `"));
    }
    wrong(&[("console/src/common.tsx", "")], "console/src/common.tsx:1: `common` says nothing");
    right(&[
        ("modules/quota/src/service_accounts.rs", "//! Some.\n"),
        ("modules/quota/src/templates/list.rs", "//! Some.\n"),
        ("console/src/target/app.tsx", ""),
    ]);
}

#[test]
fn migrations_are_in_lower_case() {
    wrong(
        &[(
            "crates/kernel/migrations/0001_core.sql",
            "create schema core;\ncreate TABLE core.a ();\n",
        )],
        "crates/kernel/migrations/0001_core.sql:2: `TABLE` is in upper case",
    );
    wrong(
        &[("crates/kernel/migrations/0001_core.sql", "do $$ begin\nSELECT 1; end $$;\n")],
        "crates/kernel/migrations/0001_core.sql:2: `SELECT` is in upper case",
    );
    right(&[(
        "crates/kernel/migrations/0001_core.sql",
        "-- CREATE it\nselect 'SELECT', $x$ 'INSERT' $x$; /* DROP */\n",
    )]);
}
