//! `.env.example` and docs/operate.md say every setting there is, and none that is not.

use std::path::PathBuf;

use freehold::settings::{env_example, table_of_settings};

#[test]
fn the_example_environment_lists_every_variable() {
    assert_same(".env.example", &env_example());
}

#[test]
fn the_operators_manual_lists_every_setting() {
    let (path, manual) = read("docs/operate.md");
    let table = table_of_settings();
    let (head, rest) = manual.split_once("<!-- settings: begin -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- settings: end -->").unwrap();
    let expected = format!("{head}<!-- settings: begin -->\n{table}<!-- settings: end -->{tail}");
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
