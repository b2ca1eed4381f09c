//! One thing that is wrong, where it is, and what to do about it.

use std::fmt;

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path relative to the root, always with forward slashes.
    pub path: String,
    /// Line in that file, counted from one.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    /// A finding at `path:line`.
    pub fn new(
        path: &str,
        line: usize,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { path: path.to_owned(), line, message: message.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} ({})", self.path, self.line, self.message, self.advice)
    }
}
