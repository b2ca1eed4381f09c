//! Queries: every route knows its parameters, and refuses a request with any other.

use super::route::Described;
use super::{Check, Refusal};

impl Check<'_> {
    /// Whatever else a route takes, a misspelt parameter is called by its name.
    pub(super) async fn query(&mut self, route: &Described, path: &str) {
        let takes = if route.query.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("it takes: {}", route.query.join(", "))
        };
        let caller = self.caller(route);
        let request = caller.request(&route.method, &format!("{path}?zzUnknown=1"));
        let request =
            if route.body.is_some() { request.json(serde_json::json!({})) } else { request };
        let wanted = Refusal::new(422, "the query zzUnknown=1").pointer("zzUnknown").says(&takes);
        self.expect(&route.name, request, wanted).await;
    }
}
