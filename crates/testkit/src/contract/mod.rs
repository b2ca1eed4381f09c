//! The rules of the API, asked of every route: who may, what is refused, and that a refusal
//! changes nothing. Generated from what modules register, so that no route can be forgotten.

mod access;
mod bodies;
mod fixtures;
mod lists;
mod queries;
mod route;
mod schema;
mod tables;

use std::collections::BTreeSet;
use std::time::Duration;

pub use fixtures::Fixtures;

use crate::app::TestApp;
use crate::client::{Client, Request};
use route::Described;

/// Asks every route of the application. Panics once, with everything that is wrong.
pub async fn check(app: &TestApp, fixtures: &Fixtures) {
    let findings = Box::pin(findings(app, fixtures)).await;
    assert!(
        findings.is_empty(),
        "the API breaks its own rules {} times:\n  {}",
        findings.len(),
        findings.join("\n  ")
    );
}

/// Asks every route of the application, and returns what is wrong, a sentence for each thing.
pub async fn findings(app: &TestApp, fixtures: &Fixtures) -> Vec<String> {
    let mut check = Check::new(app, fixtures);
    for route in Described::all(app).into_iter().filter(|route| fixtures.concern(route.module)) {
        check.route(&route).await;
    }
    check.methods().await;
    check.findings
}

/// A check under way.
struct Check<'a> {
    app: &'a TestApp,
    fixtures: &'a Fixtures,
    /// Somebody who may do everything, with two factors.
    everything: Client,
    /// Somebody who may do nothing.
    nothing: Client,
    /// Somebody who may do everything and proved an hour ago who they are.
    stale: Client,
    findings: Vec<String>,
}

impl<'a> Check<'a> {
    fn new(app: &'a TestApp, fixtures: &'a Fixtures) -> Self {
        let principal = || app.principal(&fixtures.tenant).aal(2);
        Self {
            app,
            fixtures,
            everything: principal().everything(),
            nothing: principal().with(&[]),
            stale: principal().proved_ago(Duration::from_secs(3600)).everything(),
            findings: Vec::new(),
        }
    }

    async fn route(&mut self, route: &Described) {
        let path = match route.path_with(self.fixtures) {
            Ok(path) => path,
            Err(missing) => return self.findings.push(missing),
        };
        let before = tables::contents(self.app).await;
        self.access(route, &path).await;
        self.segments(route).await;
        self.head(route, &path).await;
        self.query(route, &path).await;
        if route.body.is_some() {
            self.body(route, &path).await;
        }
        if route.is_list {
            self.list(route, &path).await;
        }
        let changed = tables::differences(&before, &tables::contents(self.app).await);
        let expected = |table: &String| {
            route.is_recorded && (table.starts_with("core.events") || table == "core.subject_keys")
        };
        for change in changed.into_iter().filter(|table| !expected(table)) {
            self.findings.push(format!("{}: a refused request changed {change}", route.name));
        }
    }

    /// Every path answers 405 to a method it does not know, and says which it does.
    async fn methods(&mut self) {
        let routes = Described::all(self.app);
        let own = routes.iter().filter(|route| self.fixtures.concern(route.module));
        let paths: BTreeSet<String> =
            own.filter_map(|route| route.path_with(self.fixtures).ok()).collect();
        for path in paths {
            let request = self.everything.request("PROPFIND", &path);
            let name = format!("PROPFIND {path}");
            let wanted = Refusal::new(405, "a method the path does not know")
                .code("core.method_not_allowed");
            self.expect(&name, request, wanted).await;
        }
    }

    /// The client that is refused for nothing but what it sends.
    fn caller(&self, route: &Described) -> Client {
        if route.is_public { self.app.anonymous() } else { self.everything.clone() }
    }

    /// Sends a request that must be refused in one way only.
    async fn expect(&mut self, name: &str, request: Request, wanted: Refusal<'_>) {
        let (answer, faults) = request.exchange().await;
        self.findings.extend(faults);
        let Refusal { status, code, pointer, says, what } = wanted;
        let is_right = answer.status() == status
            && code.is_none_or(|code| answer.code() == Some(code))
            && pointer.is_none_or(|pointer| answer.pointers().any(|named| named == pointer))
            && says.is_none_or(|words| answer.text().contains(words));
        if is_right && answer.code().is_none() {
            self.findings.push(format!("{name}: the refusal of {what} is no problem document"));
        }
        if !is_right {
            let wanted: Vec<&str> = [code, pointer, says].into_iter().flatten().collect();
            self.findings.push(format!(
                "{name}: {what} must be answered {status} {}, not {}",
                wanted.join(" "),
                format!("{answer}").replace('\n', " ").chars().take(400).collect::<String>(),
            ));
        }
    }
}

/// How a request must be refused.
#[derive(Clone, Copy)]
struct Refusal<'a> {
    status: u16,
    code: Option<&'a str>,
    pointer: Option<&'a str>,
    says: Option<&'a str>,
    what: &'a str,
}

impl<'a> Refusal<'a> {
    fn new(status: u16, what: &'a str) -> Self {
        Self { status, code: None, pointer: None, says: None, what }
    }

    fn code(self, code: &'a str) -> Self {
        Self { code: Some(code), ..self }
    }

    fn pointer(self, pointer: &'a str) -> Self {
        Self { pointer: Some(pointer), ..self }
    }

    fn says(self, words: &'a str) -> Self {
        Self { says: Some(words), ..self }
    }
}
