//! Who may ask what: every kind of principal × every route, with their own things.

use std::collections::BTreeMap;
use std::fmt::Write;

use freehold_kernel::Access;
use serde_json::json;

use super::attacks::nothing_like;
use super::described::{Described, Segment};
use super::{Caller, Cast};
use crate::{Request, Result, Subject, Wire};

/// What is said to those who are let in.
const YES: &str = "yes";

/// The answers' codes, for people to review and for a machine to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The kinds of principals.
    pub columns: Vec<&'static str>,
    /// By route: who may, and for each kind `yes` or the code of the refusal.
    pub rows: BTreeMap<String, Vec<String>>,
}

/// Asks every route by every kind of principal about things of the own tenant. Nothing changes:
/// whoever belongs there, or may everywhere, writes what no route takes and removes what is not
/// there.
///
/// # Errors
/// When a request gets no answer.
pub async fn matrix(subject: &Subject, cast: &Cast) -> Result<Matrix> {
    let (wire, routes) = (Wire::to(&subject.base)?, Described::all(&subject.app, cast));
    let columns = cast.callers.iter().map(|caller| caller.name).collect();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for route in &routes {
        let cells = rows.entry(route.name.clone()).or_default();
        cells.push(match route.access {
            Access::Public => "everybody".to_owned(),
            Access::SignedIn => "who is signed in".to_owned(),
            Access::Permission(name) => format!("`{name}`"),
        });
        for caller in &cast.callers {
            let answer = wire.send(&request(route, caller, cast)).await?;
            let let_in = match answer.status {
                401 | 403 => false,
                404 => !is_stranger(route, caller),
                _ => true,
            };
            cells.push(match answer.code() {
                Some(code) if !let_in => code,
                _ => YES.to_owned(),
            });
        }
    }
    Ok(Matrix { columns, rows })
}

/// Whether the things in the path are not the caller's.
fn is_stranger(route: &Described, caller: &Caller) -> bool {
    !route.segments.is_empty() && !caller.belongs && !caller.oversees
}

/// Whoever has no business there asks as if they had.
fn request(route: &Described, caller: &Caller, cast: &Cast) -> Request {
    let (stranger, reads) = (is_stranger(route, caller), route.method == "GET");
    let value = |segment: &Segment| {
        let Some(prefix) = &segment.prefix else { return cast.own.segment(&segment.name) };
        match cast.own.id(prefix) {
            Some(id) if stranger || reads || route.body.is_some() => id.to_owned(),
            _ => nothing_like(&format!("{prefix}_")),
        }
    };
    let path = route.path_with(value);
    let (path, body) = match &route.body {
        Some(body) if stranger => (path, Some(body.clone())),
        Some(_) => (path, Some(json!({"noFieldOfOurs": 1}))),
        None if stranger || reads => (path, None),
        None => (format!("{path}?noParameterOfOurs=1"), None),
    };
    let request = Request::new(&route.method, &path);
    Request { credential: caller.credential.clone(), body, ..request }
}

impl Matrix {
    /// As a Markdown table.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let names = self.columns.join(" | ");
        let rule = " --- |".repeat(self.columns.len());
        let mut text = format!(
            "# Authorization\n\nWhat each kind of principal is answered on each route about things \
             of one tenant: `yes` to those\nwho are let in, or the code of the refusal. Owner to \
             service account belong to that tenant, the\nothers do not; the portal link is one of its customers'.\n\n\
             | route | for | {names} |\n| --- | --- |{rule}\n"
        );
        for (route, cells) in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| `{route}` | {} |", cells.join(" | "));
        }
        text
    }
}
