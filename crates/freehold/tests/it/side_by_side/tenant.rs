//! A customer with a word of its own, which stands in everything that it can write; and everything
//! that it is told.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use freehold_kernel::crypto;
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::installation::Installation;

const PATIENCE: Duration = Duration::from_secs(20);
/// How many of a list are looked at one by one.
const EACH: usize = 3;

/// A customer's owner, signed in.
pub(super) struct Party {
    /// Sixteen letters.
    pub(super) word: String,
    /// What its request ids begin with: sixteen letters more, for the log names requests.
    request: String,
    /// The tenant's id as the database has it.
    pub(super) uuid: String,
    tenant: String,
    user: String,
    slug: String,
    token: String,
    url: String,
    http: reqwest::Client,
    receiver: MockServer,
    /// Ids of what it has made.
    made: Vec<String>,
    /// What it may read with ids of its own.
    paths: Vec<String>,
    answers: Mutex<Vec<String>>,
}

impl Party {
    pub(super) async fn register(installation: &Installation) -> Self {
        let receiver = MockServer::start().await;
        let failing = Mock::given(path_regex("/failing$")).respond_with(ResponseTemplate::new(500));
        receiver.register(failing).await;
        let well = ResponseTemplate::new(200);
        receiver.register(Mock::given(method("POST")).respond_with(well)).await;
        let mut party = Self {
            word: word(),
            request: word(),
            uuid: String::new(),
            tenant: String::new(),
            user: String::new(),
            slug: String::new(),
            token: String::new(),
            url: installation.url.clone(),
            http: installation.http.clone(),
            receiver,
            made: Vec::new(),
            paths: Vec::new(),
            answers: Mutex::default(),
        };
        let word = &party.word;
        let person = json!({
            "email": format!("{word}@example.org"), "password": format!("tarn-Kelp7-{word}"),
            "name": format!("Owner {word}"), "tenantName": format!("Firm {word}"),
        });
        let registered = party.ask("POST", "/api/v1/auth/register", Some(person), None).await;
        party.token = text(&registered, "/accessToken");
        party.tenant = text(&registered, "/tenant/id");
        party.user = text(&registered, "/user/id");
        party.slug = text(&registered, "/tenant/slug");
        party.uuid = installation.uuid(&party.slug).await;
        party
    }

    /// What must not be seen where it does not belong.
    pub(super) fn marks(&self) -> Vec<String> {
        let ids = [&self.tenant, &self.user, &self.slug, &self.uuid, &self.request, &self.word];
        ids.into_iter().chain(&self.made).cloned().collect()
    }

    /// Status, headers and body of every answer.
    pub(super) fn answers(&self) -> Vec<String> {
        self.answers.lock().unwrap().clone()
    }

    /// Everything that arrived at its receivers.
    pub(super) async fn arrived(&self) -> Vec<String> {
        let requests = self.receiver.received_requests().await.unwrap();
        let texts = requests.iter().map(|request| {
            let body = String::from_utf8_lossy(&request.body);
            format!("{} {:?} {body}", request.url, request.headers)
        });
        texts.collect()
    }

    /// Uses everything that takes a text.
    pub(super) async fn live(&mut self) {
        let word = self.word.clone();
        let body = json!({"name": format!("Firm {word} Ltd"), "timeZone": "Europe/London"});
        self.ask("PATCH", "/api/v1/tenant", Some(body), None).await;
        let body = json!({"name": format!("Person {word}")});
        self.ask("PATCH", "/api/v1/auth/me", Some(body), None).await;
        let role = self
            .make("/api/v1/roles", json!({"name": word, "description": word, "permissions": []}))
            .await;
        let body = json!({"description": format!("{word} again")});
        self.ask("PATCH", &format!("/api/v1/roles/{role}"), Some(body), None).await;
        self.make("/api/v1/service-accounts", json!({"name": word, "roleIds": [role]})).await;
        for name in ["kept", "lost"] {
            let key =
                self.make("/api/v1/api-keys", json!({"name": format!("{word} {name}")})).await;
            if name == "lost" {
                self.ask("DELETE", &format!("/api/v1/api-keys/{key}"), None, None).await;
            }
        }
        self.fail().await;
        self.receive().await;
    }

    /// Mistakes of every kind, with the word in them.
    async fn fail(&self) {
        let word = &self.word;
        let login = json!({"email": format!("{word}@example.org"), "password": word});
        self.ask("POST", "/api/v1/auth/login", Some(login), None).await;
        let login = json!({"email": format!("nobody-{word}@example.org"), "password": word});
        self.ask("POST", "/api/v1/auth/login", Some(login), None).await;
        for body in [json!({"name": "a", word: word}), json!({"name": [word]}), json!(word)] {
            self.ask("POST", "/api/v1/api-keys", Some(body), None).await;
        }
        for path in [
            format!("/api/v1/api-keys?cursor={word}"),
            format!("/api/v1/audit-logs?{word}={word}"),
            format!("/api/v1/webhooks/{word}"),
            format!("/{word}"),
        ] {
            self.ask("GET", &path, None, None).await;
        }
    }

    /// Webhooks that answer and one that does not, and events of its own product, alone and in a list.
    async fn receive(&mut self) {
        let word = self.word.clone();
        for place in ["well", "failing"] {
            let body = json!({
                "url": format!("{}/{word}/{place}", self.receiver.uri()), "description": word,
                "events": [format!("{word}.*"), "role.*"],
            });
            self.make("/api/v1/webhooks", body).await;
        }
        let event = |id: &str| json!({"type": format!("{word}.paid"), "id": format!("{word}-{id}"), "data": {&word: word}});
        self.ask("POST", "/api/v1/events", Some(event("1")), None).await;
        self.ask("POST", "/api/v1/events", Some(json!([event("2"), event("3")])), None).await;
        let deadline = Instant::now() + PATIENCE;
        // Each of three at both.
        while self.receiver.received_requests().await.unwrap().len() < 6 {
            assert!(Instant::now() < deadline, "the events do not arrive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An API key, asked for with this `Idempotency-Key` and a body that says nothing of whose it is.
    pub(super) async fn make_key(&self, idempotency_key: &str) -> Value {
        let body = json!({"name": "the same"});
        self.ask("POST", "/api/v1/api-keys", Some(body), Some(idempotency_key)).await
    }

    /// Reads every path of the API there is something to read at.
    pub(super) async fn look_at_everything(&mut self, installation: &Installation) {
        let document = format!("{}/openapi.json", installation.url);
        let document = self.http.get(document).send().await.unwrap();
        let document: Value = document.json().await.unwrap();
        let readable = document["paths"].as_object().unwrap().iter();
        let readable = readable.filter(|(_, operations)| operations["get"].is_object());
        let mut wanted: Vec<Template> = readable.map(|(path, _)| Template::parse(path)).collect();
        assert!(wanted.len() > 15, "{}", wanted.len());
        while let Some(template) = wanted.pop() {
            let Some(list) = template.list() else {
                self.ask("GET", &template.0, None, None).await;
                self.paths.push(template.0);
                continue;
            };
            let page = self.ask("GET", list, None, None).await;
            let rows = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ids = rows.iter().filter_map(|row| row["id"].as_str()).take(EACH);
            wanted.extend(ids.map(|id| template.with(id)));
        }
        assert!(
            self.paths.iter().any(|path| path.contains("/deliveries/del_")),
            "{:?}",
            self.paths
        );
    }

    /// Asks for all that the other has looked at.
    pub(super) async fn look_at_what_is_not_there(&self, other: &Self) {
        let before = self.answers.lock().unwrap().len();
        for path in &other.paths {
            self.ask("GET", path, None, None).await;
        }
        // A problem document names the path that was asked; what matters is what it says beside it.
        let mut answers = self.answers.lock().unwrap();
        for (answer, path) in answers[before..].iter_mut().zip(&other.paths) {
            *answer = answer.replace(path, "(what was asked)");
        }
    }

    async fn make(&mut self, path: &str, body: Value) -> String {
        let key = format!("{}-{}", self.word, self.made.len());
        let made = text(&self.ask("POST", path, Some(body), Some(&key)).await, "/id");
        self.made.push(made.clone());
        made
    }

    /// A request with the word in every header that is kept or might be; answers with the body.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>, key: Option<&str>) -> Value {
        let (word, number) = (&self.word, self.answers.lock().unwrap().len());
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let mut request = request
            .header("user-agent", format!("{word}/1.0"))
            .header("x-request-id", format!("{}-{number}", self.request))
            .header("referer", format!("http://{word}.example.org/"))
            .header("cookie", format!("word={word}"))
            .header("x-anything", word);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await.unwrap();
        assert!(status.as_u16() < 500, "{method} {path}: {status} {body}");
        self.answers.lock().unwrap().push(format!("{method} {path}\n{status} {headers}\n{body}"));
        serde_json::from_str(&body).unwrap_or_default()
    }
}

/// A path with places for ids.
pub(super) struct Template(String);

impl Template {
    pub(super) fn parse(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The list whose ids fit the first place; `None` when there is none left.
    pub(super) fn list(&self) -> Option<&str> {
        Some(self.0.split_once("/{")?.0)
    }

    /// The path with this id in the first place.
    pub(super) fn with(&self, id: &str) -> Self {
        let place = self.0.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let name = place.map_or("", |(name, _)| name);
        Self(self.0.replacen(&format!("{{{name}}}"), id, 1))
    }
}

fn word() -> String {
    let random = crypto::random::<16>().unwrap();
    random.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

fn text(answer: &Value, pointer: &str) -> String {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no {pointer} in {answer}")).to_owned()
}
