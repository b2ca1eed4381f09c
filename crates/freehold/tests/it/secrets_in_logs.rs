//! What must stay secret appears in no log line, however much is logged, and in no metric.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::process::{Start, folder};

const PASSWORD: &str = "tarn-Kelp7-obverse";
const WRONG_PASSWORD: &str = "wrong-Canary5-password";
const PREVIOUS_KEY: &str = "an-earlier-secret-key-of-32-bytes-or-more";

/// A process that logs everything into a file.
struct Talkative {
    child: Child,
    url: String,
    metrics: String,
}

impl Talkative {
    fn start(start: &Start<'_>, log: File) -> Self {
        let mut child = start.command().stderr(Stdio::from(log)).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut said = |prefix: &str| {
            let line = lines.find_map(|line| line.strip_prefix(prefix).map(ToOwned::to_owned));
            line.unwrap().split(' ').next().unwrap().to_owned()
        };
        let (metrics, url) = (said("Metrics are at "), said("Freehold is ready at "));
        Self { child, url, metrics }
    }

    /// A request; answers with the status and what it said.
    async fn ask(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let mut request = reqwest::Client::new().post(format!("{}{path}", self.url)).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

impl Drop for Talkative {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn secrets_reach_neither_log_nor_metrics_even_when_everything_is_logged() {
    let folder = folder();
    let data = folder.path().join("data");
    let environment = &[
        ("FREEHOLD_LOG", "trace"),
        ("FREEHOLD_LOG_FORMAT", "json"),
        ("FREEHOLD_METRICS", "127.0.0.1:0"),
        ("FREEHOLD_SECRET_KEY_PREVIOUS", PREVIOUS_KEY),
    ];
    let log = folder.path().join("log");
    let start = Start { environment, ..Start::in_folder(&data) };
    let freehold = Talkative::start(&start, File::create(&log).unwrap());
    let mut secrets = use_secrets(&freehold).await;
    secrets.push(std::fs::read_to_string(data.join("secret.key")).unwrap().trim().to_owned());
    let kept = std::fs::read(data.join("credentials.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    secrets.extend(["operator", "demo"].map(|who| text(&kept[who], "password")));
    let metrics = reqwest::get(&freehold.metrics).await.unwrap().text().await.unwrap();
    drop(freehold);
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() > 200, "too little was logged to prove anything: {}", lines.len());
    assert!(log.contains("/api/v1/auth/login"), "requests are logged at this level");
    for line in &lines {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
    for secret in &secrets {
        assert!(secret.len() >= 12, "{secret} is too short to look for");
        let line = lines.iter().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "{secret} is in the log: {}", line.unwrap_or(&""));
        assert!(!metrics.contains(secret.as_str()), "{secret} is in the metrics");
    }
}

/// Everything that takes or gives out a secret; answers with all of them.
async fn use_secrets(freehold: &Talkative) -> Vec<String> {
    let person = json!({
        "email": "canary@example.org", "password": PASSWORD, "name": "Personal Canary",
        "tenantName": "Canary",
    });
    let (status, registered) = freehold.ask("/api/v1/auth/register", None, person).await;
    assert_eq!(status, 201, "{registered}");
    let login = |password: &str| json!({"email": "canary@example.org", "password": password});
    let (status, _) = freehold.ask("/api/v1/auth/login", None, login(WRONG_PASSWORD)).await;
    assert_eq!(status, 401);
    let (status, session) = freehold.ask("/api/v1/auth/login", None, login(PASSWORD)).await;
    assert_eq!(status, 200, "{session}");
    let refresh = json!({"refreshToken": session["refreshToken"]});
    let (status, refreshed) = freehold.ask("/api/v1/auth/refresh", None, refresh).await;
    assert_eq!(status, 200, "{refreshed}");
    let token = text(&refreshed, "accessToken");
    let owner = Some(token.as_str());
    let (status, key) = freehold.ask("/api/v1/api-keys", owner, json!({"name": "deploy"})).await;
    assert_eq!(status, 201, "{key}");
    let key = text(&key, "secret");
    let forged = format!("{}x", &key[..key.len() - 1]);
    for credential in [&forged, &key] {
        freehold.ask("/api/v1/webhooks", Some(credential), json!({"bad": 1})).await;
    }
    let link = json!({"customer": "cust_1", "pageUrl": "https://app.example.com/"});
    let (status, link) = freehold.ask("/api/v1/portal-links", owner, link).await;
    assert_eq!(status, 201, "{link}");
    let link = text(&link, "token");
    freehold.ask("/api/v1/webhooks", Some(&link), json!({"bad": 1})).await;
    let secret = receive(freehold, owner).await;
    let mut secrets = vec![PASSWORD, WRONG_PASSWORD, PREVIOUS_KEY, "canary@example.org"];
    secrets.push("Personal Canary");
    let mut secrets: Vec<String> = secrets.into_iter().map(ToOwned::to_owned).collect();
    for answer in [&registered, &session, &refreshed] {
        secrets.push(text(answer, "accessToken"));
        secrets.push(text(answer, "refreshToken"));
    }
    secrets.extend([link, key, forged, secret.trim_start_matches("whsec_").to_owned(), secret]);
    secrets
}

/// A webhook that gets an event; answers with what signs it.
async fn receive(freehold: &Talkative, owner: Option<&str>) -> String {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let body = json!({"url": server.uri(), "events": ["order.*"]});
    let (status, webhook) = freehold.ask("/api/v1/webhooks", owner, body).await;
    assert_eq!(status, 201, "{webhook}");
    let event = json!({"type": "order.paid", "id": "order-1", "data": {"total": 7}});
    let (status, answer) = freehold.ask("/api/v1/events", owner, event).await;
    assert_eq!(status, 202, "{answer}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.received_requests().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the event does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    text(&webhook, "secret")
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}
