//! Every bound of the API but those of bodies and budgets: what is just inside is taken, what is
//! just outside has its own answer, and the connection goes on.

use freehold_kernel::Id;
use freehold_testkit::{Client, TestApp};
use serde_json::json;

use crate::{fixture, rough};

const THINGS: &str = "/api/v1/things";
const JSON: &str = "application/json";

async fn owner(app: &TestApp) -> Client {
    app.principal(&app.tenant("Acme").await).everything()
}

#[tokio::test]
async fn headers_of_16_kib_are_taken_and_more_are_refused_on_a_connection_that_goes_on() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let authorization = format!("Bearer {}", owner.token());
    // Names, values and the path count: all that is there beside the long one.
    let others = ["host", "localhost", "authorization", &authorization, "x-long", THINGS];
    let room = 16 * 1024 - others.concat().len();
    let mut connection = app.raw().connect().await;
    for (length, wanted) in [(room, 200), (room + 1, 431), (200 * 1024, 431), (room, 200)] {
        let long = "x".repeat(length);
        connection
            .send(format!(
                "GET {THINGS} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\
                 x-long: {long}\r\n\r\n"
            ))
            .await;
        let (status, answer) = connection.answer().await;
        assert_eq!(status, wanted, "{length}: {answer}");
        assert_eq!(answer.contains("core.headers_too_large"), wanted == 431, "{answer}");
    }
    let query = format!("{THINGS}?name={}", "x".repeat(16 * 1024));
    owner.get(&query).await.problem("core.headers_too_large", 431);
}

#[tokio::test]
async fn json_may_be_nested_64_deep_and_no_deeper() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let nested = |depth: usize| {
        let lists = depth - 1;
        format!("{{\"name\":{}{}}}", "[".repeat(lists), "]".repeat(lists)).into_bytes()
    };
    let post = |body| owner.request("POST", THINGS).body(JSON, body);
    post(nested(64)).await.invalid("/name");
    post(nested(65)).await.problem("core.json_too_deep", 400);
    // What stands in a text nests nothing.
    let brackets = json!({"name": "[".repeat(70)}).to_string();
    post(brackets.into_bytes()).await.expect(201);
}

#[tokio::test]
async fn u_0000_is_refused_wherever_it_hides() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let post = |body: &[u8]| owner.request("POST", THINGS).body(JSON, body);
    for body in [&br#"{"name":"a\u0000b"}"#[..], br#"{"na\u0000me":"a"}"#] {
        let refused = post(body).await;
        refused.problem("core.invalid", 422);
        assert_eq!(refused.json()["errors"][0]["code"], "core.null_byte", "{refused}");
    }
    post(b"{\"name\":\"a\0b\"}").await.problem("core.malformed_json", 400);
    post(br#"{"name":"a\\u0000b"}"#).await.expect(201);
    owner.get(&format!("{THINGS}?name=a%00b")).await.invalid("name");
    owner.get(&format!("{THINGS}/%00")).await.problem("core.not_found", 404);
}

#[tokio::test]
async fn what_is_not_json_in_utf_8_is_400() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let utf_16: Vec<u8> = r#"{"name":"a"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [
        &b""[..],
        b"{",
        b"{\"name\":\"a\"",
        b"{\"name\":\"a\"} {}",
        b"{\"name\":\"a\",}",
        b"{'name':'a'}",
        b"{\"name\":NaN}",
        b"\xef\xbb\xbf{\"name\":\"a\"}",
        b"{\"name\":\"\xff\"}",
        b"{\"name\":\"\xed\xa0\x80\"}",
        b"{\"name\":\"\\ud800\"}",
        b"{\"name\":\"a\tb\"}",
        &utf_16,
    ] {
        let refused = owner.request("POST", THINGS).body(JSON, body).await;
        refused.problem("core.malformed_json", 400);
    }
    let twice = owner.request("POST", THINGS).body(JSON, r#"{"name":"a","name":"b"}"#).await;
    assert_eq!(twice.expect(422).json()["errors"][0]["code"], "core.duplicate_field");
}

#[tokio::test]
async fn a_body_is_json_by_its_name_and_as_it_is() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let post =
        |kind: &str| owner.request("POST", THINGS).body(kind, json!({"name": kind}).to_string());
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        post(kind).await.expect(201);
    }
    for kind in ["", "text/plain", "application/jsonp", "application/merge-patch+json"] {
        post(kind).await.problem("core.unsupported_type", 415);
    }
    let nameless = owner.request("POST", THINGS);
    nameless.await.problem("core.unsupported_type", 415);
    let packed = post(JSON).header("content-encoding", "gzip").await;
    packed.problem("core.unsupported_type", 415);
    let plain =
        owner.post(THINGS, json!({"name": "as it is"})).header("content-encoding", "identity");
    let place = plain.await.expect(201).header("location").to_owned();
    let patch = owner.request("PATCH", &place);
    let patch = patch.body("application/merge-patch+json", r#"{"note":"a patch by its name"}"#);
    patch.await.expect(200);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_405_and_says_which_it_does() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let thing = format!("{THINGS}/{}", Id::<fixture::Thing>::new());
    for (path, allowed) in [(THINGS, "GET,HEAD,POST"), (&thing, "DELETE,GET,HEAD,PATCH")] {
        for method in ["PUT", "TRACE", "PROPFIND", "get"] {
            let refused = owner.request(method, path).await;
            refused.problem("core.method_not_allowed", 405);
            assert_eq!(refused.header("allow"), allowed, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_page_holds_1_to_200_and_a_key_of_idempotency_1_to_255() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    for limit in ["1", "200"] {
        owner.get(&format!("{THINGS}?limit={limit}")).await.expect(200);
    }
    for limit in ["0", "201", "-1", "1.0", "", "99999999999999999999"] {
        owner.get(&format!("{THINGS}?limit={limit}")).await.invalid("limit");
    }
    let post = |key: &str| {
        let body = json!({"name": format!("with a key of {}", key.len())});
        owner.post(THINGS, body).header("idempotency-key", key)
    };
    for length in [1, 255] {
        post(&"k".repeat(length)).await.expect(201);
    }
    for length in [0, 256] {
        post(&"k".repeat(length)).await.invalid("Idempotency-Key");
    }
}

#[tokio::test]
async fn an_id_of_the_wrong_kind_is_404_in_a_path_and_422_in_a_body() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let right = Id::<fixture::Thing>::new().to_string();
    let wrong = Id::<rough::Stone>::new().to_string();
    for id in [&wrong, &right.to_uppercase(), &right[..29], &format!("{right}0"), "thg_"] {
        owner.get(&format!("{THINGS}/{id}")).await.problem("core.not_found", 404);
        let body = json!({"name": "child", "parentId": id});
        owner.post(THINGS, body).await.invalid("/parentId");
    }
}

#[tokio::test]
async fn a_query_parameter_that_a_route_does_not_know_or_knows_once_is_422() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = owner(&app).await;
    let refused = owner.get(&format!("{THINGS}?nmae=a")).await;
    let says = refused.invalid("nmae").json()["errors"][0]["detail"].clone();
    assert_eq!(says, "no parameter of this path; it takes: limit, cursor, name");
    for query in ["limit=1&limit=2", "cursor=a&cursor=a", "name=a&name=b"] {
        let name = query.split('=').next().unwrap();
        owner.get(&format!("{THINGS}?{query}")).await.invalid(name);
    }
    let made = owner.post(&format!("{THINGS}?dryRun=true"), json!({"name": "a"})).await;
    made.invalid("dryRun");
    assert_eq!(owner.get(THINGS).await.expect(200).json()["data"], json!([]), "nothing was made");
    owner.get(&format!("{THINGS}?")).await.expect(200);
}
