//! The same tree for readers: the table of commands in docs/operate.md. A test compares.

use std::fmt::Write;

use clap::{Arg, Command};

use super::command;

/// Every command that does something, with its arguments.
#[must_use]
pub fn table_of_commands() -> String {
    let mut text = String::from("| command | arguments | what it does |\n| --- | --- | --- |\n");
    add(&mut text, "freehold", &command());
    text
}

fn add(text: &mut String, name: &str, command: &Command) {
    if command.has_subcommands() {
        let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        inner.for_each(|inner| add(text, &format!("{name} {}", inner.get_name()), inner));
        return;
    }
    let arguments: Vec<String> = command.get_arguments().filter_map(shown).collect();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "| `{name}` | {} | {about} |", arguments.join(" "));
}

/// As it is typed.
fn shown(argument: &Arg) -> Option<String> {
    let value = argument.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    let takes_value = argument.get_action().takes_values();
    let value = value.unwrap_or_else(|| argument.get_id().to_string().to_uppercase());
    match argument.get_long() {
        Some("help" | "version") => None,
        Some(long) if takes_value => Some(format!("`--{long} {value}`")),
        Some(long) => Some(format!("`--{long}`")),
        None => Some(format!("`{value}`")),
    }
}
