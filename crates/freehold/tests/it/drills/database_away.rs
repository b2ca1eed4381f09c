//! The database is not there: every route says so in the same clear words, and all is well by
//! itself when it comes back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::installation::{Installation, addresses, http, register};
use super::until;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_503_with_what_to_do_and_recovers_by_itself() {
    let mut installation = Installation::new();
    let [address] = addresses();
    let mut node = installation.serve(address, &[]);
    let token = register(address, "ada").await;
    let (http, api) = (http(), format!("http://{address}"));
    let document: Value =
        http.get(format!("{api}/openapi.json")).send().await.unwrap().json().await.unwrap();
    let is_ready = async || {
        let asked = http.get(format!("{api}/health/ready")).send().await.unwrap();
        (asked.status(), asked.text().await.unwrap())
    };
    assert_eq!(is_ready().await.0, StatusCode::OK);
    // A node that remembers a tenant's kinds of events asks the database only for their transaction.
    let event = serde_json::json!({"type": "order.paid", "data": {}});
    let sent = http.post(format!("{api}/api/v1/events")).bearer_auth(&token).json(&event).send();
    assert_eq!(sent.await.unwrap().status(), StatusCode::ACCEPTED);

    tokio::task::block_in_place(|| installation.stop_database());
    let answers = ask_everything(&http, address, &token, &document).await;
    let (status, said) = is_ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("database unavailable"), "{said}");
    let health = http.get(format!("{api}/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    let live = http.get(format!("{api}/health/live")).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);

    let away = answers.iter().filter(|answer| answer.is_refused_well()).count();
    for answer in &answers {
        let (status, body) = (answer.status, &answer.body);
        // What needs no database is answered, and what nobody could want is refused as ever.
        let as_ever = !status.is_server_error();
        assert!(as_ever || answer.is_refused_well(), "{}: {status} {body}", answer.route);
        assert!(answer.took < Duration::from_secs(8), "{} took {:?}", answer.route, answer.took);
    }
    let others: Vec<_> = answers.iter().filter(|answer| !answer.is_refused_well()).collect();
    let others: Vec<_> = others.iter().map(|a| format!("{} {}", a.route, a.status)).collect();
    eprintln!("{away} of {} routes answer 503; the others: {others:?}", answers.len());
    assert!(away * 4 >= answers.len() * 3, "most routes need the database");

    tokio::task::block_in_place(|| installation.start_database());
    let began = Instant::now();
    let well = async || {
        let asked = http.get(format!("{api}/api/v1/tenant")).bearer_auth(&token).send().await;
        asked.unwrap().status() == StatusCode::OK && is_ready().await.0 == StatusCode::OK
    };
    until("it to recover", Duration::from_secs(30), well).await;
    eprintln!("recovered {:.0?} after the database was back", began.elapsed());
    assert!(node.lives(), "nobody restarted it");
    node.stop();
}

/// What a route said.
struct Answer {
    route: String,
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    took: Duration,
}

impl Answer {
    fn is_refused_well(&self) -> bool {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        self.status == StatusCode::SERVICE_UNAVAILABLE
            && self.headers["content-type"] == "application/problem+json"
            && self.headers.contains_key("retry-after")
            && problem["code"] == "core.database_unavailable"
            && problem["detail"].as_str().is_some_and(|detail| detail.contains("try again"))
            && !self.body.contains("sqlx")
    }
}

/// An id that may be one, of the kind that a schema says.
fn id_of(schema: &Value) -> Option<String> {
    let (prefix, _) = schema["pattern"].as_str()?.strip_prefix('^')?.split_once("_[")?;
    Some(format!("{prefix}_01jz8q6k3mf1g8tvkh4z6c9x2b"))
}

/// Every operation of the document, as its examples show it.
async fn ask_everything(
    http: &Client,
    address: SocketAddr,
    token: &str,
    document: &Value,
) -> Vec<Answer> {
    let mut asked = tokio::task::JoinSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (name, operation) in operations.as_object().unwrap() {
            let Ok(method) = name.to_uppercase().parse::<Method>() else { continue };
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let body = &operation["requestBody"]["content"]["application/json"];
            let schema = resolve(document, &body["schema"]);
            let example = if body.is_null() { None } else { Some(example(document, body, schema)) };
            let mut url = format!("http://{address}{path}");
            for parameter in parameters.iter().filter(|parameter| parameter["in"] == "path") {
                let named = format!("{{{}}}", parameter["name"].as_str().unwrap());
                let shown = [&parameter["example"], &parameter["schema"]["example"]];
                let shown = shown.into_iter().find_map(Value::as_str).map(str::to_owned);
                let shown = shown.or_else(|| id_of(&parameter["schema"])).unwrap_or("x".to_owned());
                url = url.replace(&named, &shown);
            }
            let request = http.request(method, url).bearer_auth(token);
            let request = match example {
                Some(example) => request.json(&example),
                None => request,
            };
            let route = format!("{name} {path}");
            asked.spawn(async move {
                let began = Instant::now();
                let answer = request.send().await.unwrap();
                let (status, headers) = (answer.status(), answer.headers().clone());
                let body = answer.text().await.unwrap();
                Answer { route, status, headers, body, took: began.elapsed() }
            });
        }
    }
    asked.join_all().await
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => document.pointer(&name[1..]).unwrap(),
        None => schema,
    }
}

/// The example of a body, or one made of the examples of its fields.
fn example(document: &Value, body: &Value, schema: &Value) -> Value {
    for shown in [&body["example"], &schema["example"], &schema["examples"][0]] {
        if !shown.is_null() {
            return shown.clone();
        }
    }
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    let shown = fields.iter().map(|(name, field)| {
        let field = resolve(document, field);
        let value = [&field["example"], &field["examples"][0]];
        (name.clone(), value.into_iter().find(|value| !value.is_null()).cloned())
    });
    Value::Object(shown.filter_map(|(name, value)| Some((name, value?))).collect())
}
