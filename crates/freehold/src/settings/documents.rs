//! The same table for readers: `.env.example` and the table in docs/operate.md. A test compares
//! both with the files in the repository.

use std::fmt::Write;

use super::table::{SETTINGS, Setting};

/// The whole of `.env.example`.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every variable that Freehold reads, with its default. `freehold up` needs none of them.\n\
         # Take out the `#` of what you change, then: set -a; . ./.env; set +a; freehold up\n",
    );
    for setting in SETTINGS {
        text.push('\n');
        for line in wrapped(setting.meaning, 98) {
            let _ = writeln!(text, "# {line}");
        }
        match plain(setting) {
            Some(value) => {
                let _ = writeln!(text, "#{}={value}", setting.variable);
            }
            None => {
                let _ = writeln!(text, "# Default: {}.", setting.default);
                let _ = writeln!(text, "#{}=", setting.variable);
            }
        }
    }
    text
}

/// The table of docs/operate.md.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "| variable | in `freehold.toml` | flag of `up` | default | what it does |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for setting in SETTINGS {
        let key = setting.key.map(|key| format!("`{key}`")).unwrap_or_default();
        let flag = setting.flag.as_ref().map(|flag| match flag.value {
            Some(value) => format!("`--{} {value}`", flag.name),
            None => format!("`--{}`", flag.name),
        });
        let default = match plain(setting) {
            Some(value) => format!("`{value}`"),
            None => setting.default.to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {key} | {} | {default} | {} |",
            setting.variable,
            flag.unwrap_or_default(),
            setting.meaning,
        );
    }
    text
}

/// The default, where it is a value that one could type.
fn plain(setting: &Setting) -> Option<&'static str> {
    Some(setting.default).filter(|default| !default.contains(' '))
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if lines[last].len() + word.len() >= width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}
