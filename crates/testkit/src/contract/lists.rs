//! Lists: strict parameters, bounded pages, cursors that cannot be made up.

use super::route::Described;
use super::{Check, Refusal};

impl Check<'_> {
    pub(super) async fn list(&mut self, route: &Described, path: &str) {
        let caller = self.caller(route);
        for (query, pointer) in [
            ("limit=1&limit=2", "limit"),
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
            ("limit=-1", "limit"),
            ("cursor=Zm9yZ2Vk", "cursor"),
            ("cursor=%00", "cursor"),
            ("cursor=%F0%9F%92%A9", "cursor"),
        ] {
            let what = format!("the query {query}");
            let wanted = Refusal::new(422, &what).pointer(pointer);
            self.expect(&route.name, caller.get(&format!("{path}?{query}")), wanted).await;
        }
        let (answer, faults) = caller.get(&format!("{path}?limit=1")).exchange().await;
        self.findings.extend(faults);
        if answer.status() != 200 || !answer.json()["data"].is_array() {
            self.findings.push(format!("{}: limit=1 must be answered with a page", route.name));
        }
    }
}
