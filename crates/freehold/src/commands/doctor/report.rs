//! What was found, for a person a line each, for a program one document.

use anyhow::bail;
use serde::Serialize;
use serde_json::json;

use crate::say;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// A start would fail, or should not be made.
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    found: String,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// The checks so far.
pub(super) struct Report {
    checks: Vec<Check>,
    /// Appear nowhere, whatever an error message repeats.
    secrets: Vec<String>,
}

impl Report {
    pub(super) fn hiding(secrets: Vec<String>) -> Self {
        Self { checks: Vec::new(), secrets }
    }

    pub(super) fn ok(&mut self, check: &'static str, found: &str) {
        self.add(check, Status::Ok, found, None);
    }

    pub(super) fn warn(&mut self, check: &'static str, found: &str, mend: &str) {
        self.add(check, Status::Warn, found, Some(mend));
    }

    pub(super) fn fail(&mut self, check: &'static str, found: &str, mend: &str) {
        self.add(check, Status::Fail, found, Some(mend));
    }

    fn add(&mut self, check: &'static str, status: Status, found: &str, mend: Option<&str>) {
        let clean = |text: &str| {
            let hidden = |text: String, secret: &String| text.replace(secret.as_str(), "…");
            let text = self.secrets.iter().fold(text.to_owned(), hidden);
            // One line each, whatever PostgreSQL or a list of findings says.
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let (found, mend) = (clean(found), mend.map(clean));
        self.checks.push(Check { check, status, found, mend });
    }

    #[cfg(test)]
    pub(super) fn statuses(&self) -> Vec<&'static str> {
        let word = |check: &Check| match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        self.checks.iter().map(word).collect()
    }

    /// Prints everything.
    pub(super) fn end(self, as_json: bool) -> anyhow::Result<()> {
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let (failed, warned) = (count(Status::Fail), count(Status::Warn));
        if as_json {
            let report = json!({
                "ok": failed == 0, "failed": failed, "warned": warned, "checks": self.checks,
            });
            say::line(&format!("{report:#}"));
        } else {
            self.checks.iter().for_each(|check| say::line(&line(check)));
        }
        if failed > 0 {
            bail!(
                "{failed} of {} checks failed. Mend them from the top: one often causes those below.",
                self.checks.len()
            );
        }
        if !as_json {
            let all = self.checks.len();
            say::line(&match warned {
                0 => format!("All {all} checks are well."),
                _ => format!(
                    "Nothing keeps Freehold from starting; {warned} of {all} should be looked at."
                ),
            });
        }
        Ok(())
    }
}

fn line(check: &Check) -> String {
    let status = match check.status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "fail",
    };
    let mend = check.mend.as_ref().map(|mend| format!(" To do: {mend}")).unwrap_or_default();
    let end = if check.found.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    format!("{status}  {}: {}{end}{mend}", check.check, check.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_no_secret_and_no_end_of_line_whatever_was_found() {
        let mut report = Report::hiding(vec!["canary".to_owned()]);
        report.fail("database", "login as canary\n  failed", "Say canary.");
        let lines: Vec<String> = report.checks.iter().map(line).collect();
        assert_eq!(lines, ["fail  database: login as … failed. To do: Say …."]);
    }
}
