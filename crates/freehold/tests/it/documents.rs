//! `.env.example` and docs/operate.md say every setting and every command there is, and none that is
//! not.

use std::path::PathBuf;

use freehold::command_line::table_of_commands;
use freehold::settings::{env_example, table_of_settings};

#[test]
fn the_example_environment_lists_every_variable() {
    assert_same(".env.example", &env_example());
}

// One test, for it may write the page that it reads.
#[test]
fn the_operators_manual_lists_every_setting_and_every_command_with_its_arguments() {
    assert_section("settings", &table_of_settings());
    let table = table_of_commands();
    for typed in ["`freehold serve`", "`freehold admin operator add`", "`--json`", "`EMAIL`"] {
        assert!(table.contains(typed), "{typed}: {table}");
    }
    assert_section("commands", &table);
}

/// What stands between two comments of docs/operate.md.
fn assert_section(name: &str, text: &str) {
    let (path, manual) = read("docs/operate.md");
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (head, rest) = manual.split_once(&begin).unwrap();
    let (_, tail) = rest.split_once(&end).unwrap();
    let expected = format!("{head}{begin}{text}{end}{tail}");
    if writing() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert!(manual == expected || writing(), "docs/operate.md is stale; type `make snapshots`");
}

fn assert_same(name: &str, expected: &str) {
    let (path, text) = read(name);
    if writing() {
        std::fs::write(&path, expected).unwrap();
    }
    assert!(text == expected || writing(), "{name} is stale; type `make snapshots`");
}

fn read(name: &str) -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    (path, text)
}

/// `make snapshots` writes what a test would compare.
fn writing() -> bool {
    std::env::var("FREEHOLD_SNAPSHOTS").is_ok_and(|mode| mode == "write")
}
