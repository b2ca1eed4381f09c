//! Receivers that mean harm or are broken: the log says in a sentence what is wrong with each, and
//! it harms nobody's deliveries but its own.

mod receiver;

use std::time::{Duration, Instant};

use freehold_egress::{Egress, Limits, Options, Policy};
use freehold_kernel::Timestamp;
use freehold_testkit::{Client, TestApp};
use serde_json::{Value, json};
use wiremock::MockServer;

pub(crate) use receiver::{Receiver, Then};

use crate::world::{self, app};

const NOT_COMPLETE: &str =
    "The server closed the connection before its answer was complete; check its log.";
const NOT_HTTP: &str =
    "The server's answer is not valid HTTP; check that a web server listens on this port.";
const TOO_MANY_HEADERS: &str = "The server's answer has too many or too large headers; send fewer.";
const NO_ANSWER: &str =
    "The server did not answer within 1500 ms; answer first and do the work afterwards.";
const NO_END: &str =
    "The server did not finish its answer within 1500 ms; answer first and do the work afterwards.";

/// A broken receiver: what it says, how it goes on, and what the log says of it.
type Broken = (String, Then, &'static str);

fn broken() -> Vec<Broken> {
    use Then::{Close, Reset, Silence, Trickle};
    let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    let many: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(1 << 20));
    vec![
        (String::new(), Close, NOT_COMPLETE),
        (String::new(), Reset, NOT_COMPLETE),
        ("HTTP/1.1 200 OK\r\ncontent-le".to_owned(), Close, NOT_COMPLETE),
        (ok("content-length: 100\r\n") + "half", Close, NOT_COMPLETE),
        (ok("content-length: 100\r\n"), Close, NOT_COMPLETE),
        (ok("content-length: 100\r\n") + "half", Reset, NOT_COMPLETE),
        (ok("transfer-encoding: chunked\r\n") + "5\r\nhel", Close, NOT_COMPLETE),
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), Silence, NOT_HTTP),
        ("\0\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), Silence, NOT_HTTP),
        ("HTTP/9.9 200 OK\r\n\r\n".to_owned(), Silence, NOT_HTTP),
        ("<html>hello</html>\r\n\r\n".to_owned(), Close, NOT_HTTP),
        (ok(&many), Silence, TOO_MANY_HEADERS),
        (ok(&large), Silence, TOO_MANY_HEADERS),
        (String::new(), Silence, NO_ANSWER),
        ("HTTP/1.1 200 OK\r\nx: ".to_owned(), Trickle, NO_ANSWER),
        (ok("content-length: 1000\r\n"), Trickle, NO_END),
        (ok("content-length: 1000\r\n"), Silence, NO_END),
    ]
}

#[tokio::test]
async fn the_log_says_in_a_sentence_why_an_answer_is_none_and_the_neighbours_get_theirs() {
    let app = hurried(1500).await;
    let (acme, umbrella) = (customer(&app, "Acme").await, customer(&app, "Umbrella").await);
    let mut hostile = Vec::new();
    for (says, then, sentence) in broken() {
        let what = format!("{:.40?}, then {then:?}", says);
        let receiver = Receiver::start(says, then).await;
        let webhook = register(&acme, &receiver.url()).await;
        hostile.push((webhook, what, sentence, receiver));
    }
    let neighbours = [Neighbour::of(&acme).await, Neighbour::of(&umbrella).await];
    send(&acme, 1).await;
    send(&umbrella, 1).await;
    for neighbour in neighbours {
        neighbour.gets(1).await;
    }
    for (webhook, what, sentence, receiver) in hostile {
        let log = first_try(&acme, &webhook).await;
        assert_ne!(log["status"], "delivered", "{what}: {log}");
        assert_eq!(log["tries"][0]["error"], sentence, "{what}");
        assert_eq!(log["tries"][0]["statusCode"], Value::Null, "{what}");
        assert!(receiver.requests() >= 1, "{what}: it was asked");
    }
}

#[tokio::test]
async fn receivers_that_take_all_the_time_they_get_hold_up_nobody_else() {
    let app = hurried(8_000).await;
    let (acme, umbrella) = (customer(&app, "Acme").await, customer(&app, "Umbrella").await);
    let slow_body = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let mut slow = Vec::new();
    for (says, then) in
        [("", Then::Silence), ("HTTP/1.1 200 OK\r\nx: ", Then::Trickle), (slow_body, Then::Trickle)]
    {
        let receiver = Receiver::start(says, then).await;
        slow.push((register(&acme, &receiver.url()).await, receiver));
    }
    let neighbours = [Neighbour::of(&acme).await, Neighbour::of(&umbrella).await];
    send(&acme, 30).await;
    send(&umbrella, 30).await;
    for neighbour in neighbours {
        neighbour.gets(30).await;
    }
    for (webhook, receiver) in slow {
        let path = format!("/api/v1/webhooks/{webhook}/deliveries");
        let log = acme.get(&path).await;
        let log = log.expect(200).json()["data"].as_array().unwrap();
        let waits = |delivery: &Value| delivery["attempts"] == 0 && delivery["status"] == "pending";
        assert!(log.iter().all(waits), "the neighbours had theirs before any of these ended");
        assert!((1..=10).contains(&receiver.requests()), "{} at once", receiver.requests());
    }
}

#[tokio::test]
async fn a_gigabyte_costs_what_is_read_of_it() {
    let app = app().await;
    let acme = customer(&app, "Acme").await;
    for head in ["content-length: 1073741824", "x-length: until the end"] {
        let receiver =
            Receiver::start(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"), Then::Flood).await;
        let webhook = register(&acme, &receiver.url()).await;
        send(&acme, 1).await;
        let log = first_try(&acme, &webhook).await;
        assert_eq!((&log["status"], &log["attempts"]), (&json!("delivered"), &json!(1)));
        assert_eq!(log["tries"][0]["responseBody"], "x".repeat(4096));
        until("the connection to be dropped", || receiver.hung_up() == 1).await;
        // What the cap and the sockets' buffers hold.
        assert!(receiver.bytes() < 8 << 20, "{head}: {} bytes", receiver.bytes());
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_that_is_not_followed() {
    let app = app().await;
    let acme = customer(&app, "Acme").await;
    let trap = Receiver::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Silence).await;
    let metadata = "http://169.254.169.254/latest/meta-data/".to_owned();
    for status in [301, 302, 303, 307, 308] {
        for location in [&metadata, &trap.url()] {
            let answer = format!(
                "HTTP/1.1 {status} Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            );
            let receiver = Receiver::start(answer, Then::Silence).await;
            let webhook = register(&acme, &receiver.url()).await;
            send(&acme, 1).await;
            let log = first_try(&acme, &webhook).await;
            assert_eq!(log["status"], "pending", "{status}: {log}");
            assert_eq!(log["tries"][0]["statusCode"], status);
            assert_eq!(log["tries"][0]["error"], format!("the receiver answered {status}"));
            acme.delete(&format!("/api/v1/webhooks/{webhook}")).await.expect(204);
        }
    }
    assert_eq!(trap.requests(), 0);
}

#[tokio::test]
async fn a_body_of_any_bytes_or_none_is_taken_and_can_be_read_in_the_log() {
    let app = app().await;
    let acme = customer(&app, "Acme").await;
    let until_closed = |body: &[u8]| [b"HTTP/1.1 200 OK\r\n\r\n", body].concat();
    for (says, kept) in [
        (until_closed(b""), ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), ""),
        (b"HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n".to_vec(), ""),
        (until_closed(b"a\0b"), "a\u{fffd}b"),
        (until_closed(b"\xff\xfe\0\x80"), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (
            until_closed(b"\xed\xa0\x80 a lone surrogate"),
            "\u{fffd}\u{fffd}\u{fffd} a lone surrogate",
        ),
        (until_closed(b"half of it: \xe2\x82"), "half of it: \u{fffd}"),
        (until_closed(b"\x1b[2J<script>"), "\u{1b}[2J<script>"),
    ] {
        let receiver = Receiver::start(says, Then::Close).await;
        let webhook = register(&acme, &receiver.url()).await;
        send(&acme, 1).await;
        let log = first_try(&acme, &webhook).await;
        assert_eq!((&log["status"], &log["error"]), (&json!("delivered"), &Value::Null), "{log}");
        assert_eq!(log["tries"][0]["responseBody"], kept);
        acme.delete(&format!("/api/v1/webhooks/{webhook}")).await.expect(204);
    }
}

#[tokio::test]
async fn retry_after_puts_the_next_request_off_by_an_hour_at_most_and_nonsense_by_nothing() {
    let (soon, hour) = ((4, 6), (3600, 3601));
    let app = app().await;
    let acme = customer(&app, "Acme").await;
    for (asked, (least, most)) in [
        ("120", (120, 121)),
        ("3601", hour),
        ("1000000000000", hour),
        ("18446744073709551615", hour),
        ("99999999999999999999999999", (4, 3601)),
        ("0", soon),
        ("-120", soon),
        ("soon", soon),
        ("", soon),
        ("1e9", soon),
        ("120, 120", soon),
    ] {
        let answer =
            format!("HTTP/1.1 503 Busy\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::start(answer, Then::Silence).await;
        let webhook = register(&acme, &receiver.url()).await;
        send(&acme, 1).await;
        let log = first_try(&acme, &webhook).await;
        let at = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap();
        let wait = at(&log["nextAttemptAt"]).since(at(&log["tries"][0]["at"]));
        let right = Duration::from_secs(least)..=Duration::from_secs(most);
        assert!(right.contains(&wait), "{asked:?}: the next after {wait:?}");
        assert_eq!(log["error"], "the receiver answered 503");
        acme.delete(&format!("/api/v1/webhooks/{webhook}")).await.expect(204);
    }
}

/// The application, with this many milliseconds for a request.
async fn hurried(total_ms: u64) -> TestApp {
    let limits = Limits { total: Duration::from_millis(total_ms), ..Limits::default() };
    let options = Options { policy: Policy::development(), limits, ..Options::default() };
    TestApp::start([freehold_webhooks::module(Default::default(), Egress::new(options).unwrap())])
        .await
}

pub(crate) async fn customer(app: &TestApp, name: &str) -> Client {
    let tenant = app.tenant(name).await;
    app.principal(&tenant).everything()
}

pub(crate) async fn register(client: &Client, url: &str) -> String {
    let made = client.post("/api/v1/webhooks", json!({"url": url, "events": ["order.*"]})).await;
    made.expect(201).text_of("id").to_owned()
}

pub(crate) async fn send(client: &Client, count: usize) {
    for number in 0..count {
        let event = json!({"type": "order.paid", "data": {"number": number}});
        client.post("/api/v1/events", event).await.expect(202);
    }
}

/// Waits for the first request of the newest delivery; answers the delivery with its tries.
pub(crate) async fn first_try(client: &Client, webhook: &str) -> Value {
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page = client.get(&path).await;
        let newest = &page.expect(200).json()["data"][0];
        if newest["attempts"].as_i64().is_some_and(|attempts| attempts > 0) {
            let id = newest["id"].as_str().unwrap();
            return client.get(&format!("{path}/{id}")).await.expect(200).json().clone();
        }
        assert!(Instant::now() < deadline, "it is not tried: {newest}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An endpoint that is well, at a receiver of its own.
struct Neighbour {
    client: Client,
    webhook: String,
    _server: MockServer,
}

impl Neighbour {
    async fn of(client: &Client) -> Self {
        let server = world::receiver(200).await;
        let made = world::register(client, &server, &["order.*"]).await;
        Self { client: client.clone(), webhook: made.text_of("id").to_owned(), _server: server }
    }

    /// Waits until this many have been delivered.
    async fn gets(&self, count: usize) {
        let path = format!("/api/v1/webhooks/{}/deliveries?status=delivered", self.webhook);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let page = self.client.get(&path).await;
            let delivered = page.expect(200).json()["data"].as_array().unwrap().len();
            if delivered == count {
                return;
            }
            assert!(Instant::now() < deadline, "{delivered} of {count} were delivered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_tenant_with_many_silent_receivers_does_not_hold_up_another_tenant() {
    let app = hurried(15_000).await;
    let (acme, umbrella) = (customer(&app, "Acme").await, customer(&app, "Umbrella").await);
    let silent = Receiver::start("", Then::Silence).await;
    for _ in 0..60 {
        register(&acme, &silent.url()).await;
    }
    let neighbour = Neighbour::of(&umbrella).await;
    send(&acme, 10).await;
    let deadline = Instant::now() + Duration::from_secs(8);
    while silent.requests() < 100 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    send(&umbrella, 5).await;
    neighbour.gets(5).await;
    assert_eq!(silent.hung_up(), 0, "{} requests hang; none had to end for it", silent.requests());
}

#[tokio::test]
async fn a_delivery_whose_job_was_given_up_is_failed_and_not_pending_for_ever() {
    let app = app().await;
    let acme = customer(&app, "Acme").await;
    let silent = Receiver::start("", Then::Silence).await;
    let webhook = register(&acme, &silent.url()).await;
    send(&acme, 1).await;
    until("the request", || silent.requests() == 1).await;
    // As three workers that died leave it.
    let lost =
        ["update core.jobs set crashes = 2", "update core.nodes set gone_at = clock_timestamp()"];
    for sql in lost {
        sqlx::query(sql).execute(app.sql()).await.unwrap();
    }
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let dead: Option<String> = sqlx::query_scalar("select error from core.jobs_dead")
            .fetch_optional(app.sql())
            .await
            .unwrap();
        let page = acme.get(&path).await;
        let newest = page.json()["data"][0].clone();
        if newest["status"] == "failed" {
            return;
        }
        assert!(Instant::now() < deadline, "job: {dead:?}; delivery: {newest}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
