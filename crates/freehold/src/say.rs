//! Talks to the person at the terminal. What programs read (documents) and what a person waits
//! for go to standard output, errors to standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one file that talks to the person; everything else logs"
)]

use std::io::Write;

/// Something the person asked for or should know.
pub fn line(text: &str) {
    // A reader that has gone (`freehold openapi | head`) is no reason to panic, as println! does.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Why it did not work, and what to do.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
