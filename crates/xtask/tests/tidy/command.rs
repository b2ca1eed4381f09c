//! The command line: what it prints and how it ends.

use std::process::{Command, Output};

use anyhow::Result;

use crate::tree;

fn run(arguments: &[&str], root: &std::path::Path) -> Result<Output> {
    // Without --root, the workspace around the current folder is meant.
    Ok(Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).current_dir(root).output()?)
}

#[test]
fn tidy_prints_each_finding_and_fails() -> Result<()> {
    let folder = tree(&[("modules/quota/src/a.rs", "fn f() {\n    g().unwrap();\n}\n")])?;
    let output = run(&["tidy"], &folder.path().join("modules/quota"))?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("modules/quota/src/a.rs:1: the first line"), "{text}");
    assert!(lines[1].starts_with("modules/quota/src/a.rs:2: `.unwrap()`"), "{text}");
    assert_eq!(lines[2..], ["2 to tidy"]);
    Ok(())
}

#[test]
fn tidy_is_silent_about_a_tidy_tree() -> Result<()> {
    let folder = tree(&[("modules/quota/src/a.rs", "//! Some.\n")])?;
    let output = run(&["tidy"], folder.path())?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    Ok(())
}

#[test]
fn new_module_takes_the_words_of_its_resource() -> Result<()> {
    let folder = tree(&[])?;
    let arguments = ["new-module", "webhooks", "--resource", "endpoint,endpoints,whk"];
    assert!(run(&arguments, folder.path())?.status.success());
    assert!(folder.path().join("modules/webhooks/src/endpoints.rs").is_file());
    assert!(!run(&arguments, folder.path())?.status.success());
    assert!(!run(&["new-module", "x", "--resource", "one"], folder.path())?.status.success());
    Ok(())
}
