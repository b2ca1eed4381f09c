//! The README's tour, run as it is written: every `bash` block in one shell, in order, and what the
//! `text` block after it says must be what was printed.

use std::path::Path;
use std::process::Command;

use crate::process::{Start, folder};

/// A step of the tour.
struct Step {
    commands: String,
    printed: Option<String>,
}

#[test]
fn the_readmes_tour_does_what_it_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let steps = steps(&readme);
    assert!(steps.len() >= 7, "the tour has {} steps", steps.len());
    let folder = folder();
    let freehold = Start::in_folder(&folder.path().join("data")).run();
    let script = script(&steps).replace("http://localhost:3000", &freehold.url);
    let ran = Command::new("bash").args(["-c", &script]).output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "the tour stops early: {complaint}\n{printed}");
    let outputs: Vec<&str> = printed.split(MARK).collect();
    for (step, output) in steps.iter().zip(&outputs) {
        let Some(expected) = &step.printed else { continue };
        compare(&step.commands, expected, output);
    }
}

const MARK: &str = "\u{1}";

fn script(steps: &[Step]) -> String {
    let separator = format!("\nprintf '%s' '{MARK}'\n");
    let commands: Vec<&str> = steps.iter().map(|step| step.commands.as_str()).collect();
    format!("set -euo pipefail\n{}", commands.join(&separator))
}

/// Fenced blocks: `bash` begins a step, `text` right after it is what it prints.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut parts = readme.split("```");
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        if let Some(commands) = block.strip_prefix("bash\n") {
            steps.push(Step { commands: commands.to_owned(), printed: None });
        } else if let (Some(text), Some(step)) = (block.strip_prefix("text\n"), steps.last_mut()) {
            step.printed = Some(text.to_owned());
        }
    }
    steps
}

/// Line by line; `…` stands for anything.
fn compare(commands: &str, expected: &str, output: &str) {
    let (expected, output): (Vec<&str>, Vec<&str>) =
        (expected.trim().lines().collect(), output.trim().lines().collect());
    let same = expected.len() == output.len()
        && expected.iter().zip(&output).all(|(wanted, line)| fits(wanted, line));
    assert!(same, "{commands}\nprints\n{}\ninstead of\n{}", output.join("\n"), expected.join("\n"));
}

fn fits(wanted: &str, line: &str) -> bool {
    let mut rest = line;
    let mut parts = wanted.split('…');
    let Some(start) = parts.next().and_then(|start| rest.strip_prefix(start)) else { return false };
    rest = start;
    let mut open_end = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open_end = part.is_empty();
    }
    rest.is_empty() || open_end
}
