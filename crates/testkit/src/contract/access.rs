//! Who may: 401 before 403 before 404, whatever else is wrong with the request.

use super::route::Described;
use super::{Check, Refusal};

impl Check<'_> {
    /// Nobody gets in without credentials, nor anybody without the permission on the route.
    pub(super) async fn access(&mut self, route: &Described, path: &str) {
        if route.is_public {
            return;
        }
        let anonymous = self.app.anonymous().request(&route.method, path);
        let wanted = Refusal::new(401, "a request without credentials");
        self.expect(&route.name, anonymous, wanted.code("core.unauthenticated")).await;
        let Some(permission) = route.permission else { return };
        let powerless = self.nothing.request(&route.method, path);
        let wanted = Refusal::new(403, "a request without the permission")
            .code("core.permission_missing")
            .says(permission);
        self.expect(&route.name, powerless, wanted).await;
        if route.is_recent {
            let stale = self.stale.request(&route.method, path);
            let wanted = Refusal::new(403, "a request by somebody who proved nothing lately");
            self.expect(&route.name, stale, wanted.code("core.step_up_required")).await;
        }
    }

    /// What cannot be an id of the right kind is not there, before the body is looked at.
    pub(super) async fn segments(&mut self, route: &Described) {
        let caller = self.caller(route);
        for (path, what) in route.paths_to_nowhere() {
            let request = caller.request(&route.method, &path);
            let wanted = Refusal::new(404, what).code("core.not_found");
            self.expect(&route.name, request, wanted).await;
        }
        // Writes may need a body to get that far; a read needs nothing.
        if route.method == "GET"
            && let Some(path) = route.path_to_nothing()
        {
            let wanted = Refusal::new(404, "an id that names nothing").code("core.not_found");
            self.expect(&route.name, caller.get(&path), wanted).await;
        }
    }

    /// Headers have bounds, and those that mean something are read strictly.
    pub(super) async fn head(&mut self, route: &Described, path: &str) {
        let caller = self.caller(route);
        let request = || caller.request(&route.method, path);
        let large = request().header("x-large", vec![b'a'; 64 * 1024]);
        let wanted = Refusal::new(431, "a header of 64 KiB").code("core.headers_too_large");
        self.expect(&route.name, large, wanted).await;
        if route.takes_key {
            let long = request().header("idempotency-key", vec![b'k'; 256]);
            let wanted = Refusal::new(422, "an Idempotency-Key of 256 characters");
            self.expect(&route.name, long, wanted.pointer("Idempotency-Key")).await;
        }
        if route.takes_etag {
            let request = request().json(serde_json::json!({})).header("if-match", "nonsense");
            let wanted = Refusal::new(422, "an If-Match that is no ETag of ours");
            self.expect(&route.name, request, wanted.pointer("If-Match")).await;
        }
    }
}
