//! Bodies: every way to send one wrong has an answer of its own, and none of them is 5xx.

use serde_json::{Value, json};

use super::route::Described;
use super::{Check, Refusal};

const JSON: &str = "application/json";
/// No field of ours is called so.
const UNKNOWN: &str = "zzUnknownField";

impl Check<'_> {
    pub(super) async fn body(&mut self, route: &Described, path: &str) {
        self.unreadable(route, path).await;
        self.invalid(route, path).await;
        self.types(route, path).await;
    }

    /// 400, 413, 415: what does not come through to the fields.
    async fn unreadable(&mut self, route: &Described, path: &str) {
        let deep = [vec![b'['; 65], vec![b']'; 65]].concat();
        let large = format!("{{\"a\":\"{}\"}}", "a".repeat(2 * 1024 * 1024)).into_bytes();
        let malformed = Refusal::new(400, "JSON that ends too early").code("core.malformed_json");
        let cases = [
            ("text/plain", b"{}".to_vec(), Refusal::new(415, "a body that is not called JSON")),
            (JSON, b"{\"".to_vec(), malformed),
            (JSON, Vec::new(), Refusal { what: "an empty body", ..malformed }),
            (JSON, b"{]".to_vec(), Refusal { what: "a body that is not JSON", ..malformed }),
            (JSON, b"{\"\xff\": 1}".to_vec(), Refusal { what: "a body not in UTF-8", ..malformed }),
            (JSON, deep, Refusal::new(400, "JSON nested 65 deep").code("core.json_too_deep")),
            (JSON, large, Refusal::new(413, "a body of 2 MiB").code("core.too_large")),
        ];
        let caller = self.caller(route);
        for (content_type, body, wanted) in cases {
            let request = caller.request(&route.method, path).body(content_type, body);
            self.expect(&route.name, request, wanted).await;
        }
    }

    /// 422: what comes through, and is not what the schema says.
    async fn invalid(&mut self, route: &Described, path: &str) {
        let caller = self.caller(route);
        let request = |body: &Value| caller.request(&route.method, path).json(body);
        let pointer = format!("/{UNKNOWN}");
        let wanted = Refusal::new(422, "a field that the schema does not have").pointer(&pointer);
        self.expect(&route.name, request(&json!({UNKNOWN: 1})), wanted).await;
        let wanted = Refusal::new(422, "a null byte in a text");
        self.expect(&route.name, request(&json!({UNKNOWN: "\0"})), wanted).await;
        let Some(schema) = &route.body else { return };
        if route.schemas.requires_something(schema) {
            let wanted = Refusal::new(422, "a body without the required fields");
            self.expect(&route.name, request(&json!({})), wanted).await;
        }
        // serde reads a list as a struct, field by field; the API's description knows no lists.
        if route.schemas.resolve(schema)["type"] == "object" {
            let texts: Vec<&str> = vec!["text"; route.schemas.properties(schema).len()];
            let wanted = Refusal::new(422, "a list in the place of an object");
            self.expect(&route.name, request(&json!(texts)), wanted).await;
        }
    }

    /// 422 with a pointer: each field with a value of each JSON type that it does not take.
    async fn types(&mut self, route: &Described, path: &str) {
        let Some(schema) = &route.body else { return };
        let caller = self.caller(route);
        for (name, property) in route.schemas.properties(schema) {
            let pointer = format!("/{name}");
            for value in route.schemas.wrong_values(property) {
                let what = format!("{value} in the field {name}");
                let request = caller.request(&route.method, path).json(json!({name: value}));
                let wanted = Refusal::new(422, &what).pointer(&pointer);
                self.expect(&route.name, request, wanted).await;
            }
            if route.schemas.is_integer(property) {
                // JSON Schema calls 7.0 an integer. Fields are read in their order, so that the
                // unknown one is what is wrong only if the one before it is not.
                let body = format!("{{\"{name}\": 7.0, \"{UNKNOWN}\": 1}}").into_bytes();
                let request = caller.request(&route.method, path).body(JSON, body);
                let pointer = format!("/{UNKNOWN}");
                let what = format!("an unknown field after 7.0 in the field {name}");
                let wanted = Refusal::new(422, &what).pointer(&pointer);
                self.expect(&route.name, request, wanted).await;
            }
        }
    }
}
