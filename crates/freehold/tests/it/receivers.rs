//! The receivers of docs/webhooks.md, run as they are shown, with the official libraries.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tempfile::TempDir;

/// Exact, those that the libraries need included, so that a run next year is the run of today.
const NPM: [&str; 3] = ["standardwebhooks@1.1.1", "@stablelib/base64@1.0.1", "fast-sha256@1.3.0"];
const PIP: [&str; 4] =
    ["standardwebhooks==1.1.0", "cryptography==50.0.2", "cffi==2.1.1", "pycparser==3.12"];

/// Which of the page's receivers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    /// `node receiver.mjs`
    Node,
    /// `python3 receiver.py`
    Python,
    /// The example `webhook_receiver`.
    Rust,
}

/// A running receiver; killed when dropped.
pub(crate) struct Receiver {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
    printed: Arc<Mutex<Vec<Value>>>,
    _folder: Option<TempDir>,
}

impl Receiver {
    /// Starts it with this secret, on a free port; with a public key it verifies key pairs.
    pub(crate) fn start(language: Language, secret: &str) -> Self {
        let (mut command, folder) = command(language, secret.starts_with("whpk_"));
        command.env("WEBHOOK_SECRET", secret).env("PORT", "0").stdout(Stdio::piped());
        let mut child = run(command, Command::spawn);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let port = first.trim().strip_prefix("listening on ").map(str::to_owned);
        let port = port.unwrap_or_else(|| panic!("{language:?} does not listen: {first:?}"));
        let url = format!("http://127.0.0.1:{port}/");
        let printed = keep(lines);
        Self { child, url, printed, _folder: folder }
    }

    /// What it printed of this event, as soon as it has.
    pub(crate) async fn event(&self, id: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let printed = self.printed();
            if let Some(event) = printed.iter().find(|event| event["id"] == id) {
                return event.clone();
            }
            assert!(Instant::now() < deadline, "{id} is not among {printed:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every event it has printed.
    pub(crate) fn printed(&self) -> Vec<Value> {
        self.printed.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads on, so that the receiver never waits for a full pipe.
fn keep(lines: BufReader<ChildStdout>) -> Arc<Mutex<Vec<Value>>> {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let theirs = printed.clone();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
            theirs.lock().unwrap().push(event);
        }
    });
    printed
}

/// The page.
pub(crate) fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/webhooks.md");
    std::fs::read_to_string(page).unwrap()
}

/// The page's only block that opens like this: with its language, and its file's name if it has one.
fn block(opens: &str) -> String {
    let page = page();
    let opens = format!("\n```{opens}\n");
    let (_, rest) = page.split_once(&opens).unwrap();
    assert!(!rest.contains(&opens), "there are two blocks of {opens}");
    rest.split_once("\n```").unwrap().0.to_owned() + "\n"
}

/// How to run a receiver, and the folder that must live as long.
fn command(language: Language, with_key_pair: bool) -> (Command, Option<TempDir>) {
    let (program, home, comment, extension, library) = match language {
        Language::Rust => {
            assert!(!with_key_pair, "the page has none in Rust");
            return (Command::new(example()), None);
        }
        // Node looks for libraries beside the file and upwards.
        Language::Node => {
            let library = ("from \"standardwebhooks\"", "from \"./key_pair.mjs\"");
            (PathBuf::from("node"), node_libraries(), "js\n//", "mjs", library)
        }
        Language::Python => {
            let home = python_libraries();
            let library = ("from standardwebhooks import", "from key_pair import");
            (home.join("bin/python"), home, "python\n#", "py", library)
        }
    };
    let folder = TempDir::new_in(home).unwrap();
    let shown = |name: &str| block(&format!("{comment} {name}.{extension}"));
    let file = |name: &str| folder.path().join(format!("{name}.{extension}"));
    let mut receiver = shown("receiver");
    if with_key_pair {
        std::fs::write(file("key_pair"), shown("key_pair")).unwrap();
        assert_eq!(receiver.matches(library.0).count(), 1, "where it imports the library");
        receiver = receiver.replace(library.0, library.1);
    }
    std::fs::write(file("receiver"), receiver).unwrap();
    let mut command = Command::new(program);
    command.arg(file("receiver"));
    (command, Some(folder))
}

/// Cargo builds examples with the tests, and puts them beside the tests' folder.
fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.ancestors().nth(2).unwrap().join("examples/webhook_receiver");
    assert!(
        built.exists(),
        "no {built:?}: run the tests without --test, which leaves examples out"
    );
    built
}

fn node_libraries() -> PathBuf {
    installed(&format!("node {}", NPM.join(" ")), |home| {
        let mut install = Command::new("npm");
        install.args(["install", "--prefix", ".", "--ignore-scripts", "--no-audit", "--no-fund"]);
        install.args(NPM).current_dir(home);
        succeed(install);
    })
}

fn python_libraries() -> PathBuf {
    let mut ask = Command::new("python3");
    ask.args(["-c", "import sys; print(sys.base_prefix, sys.version)"]);
    let which = run(ask, Command::output);
    let version = String::from_utf8(which.stdout).unwrap();
    installed(&format!("python {} {version}", PIP.join(" ")), |home| {
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(home);
        succeed(make);
        let mut install = Command::new(home.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PIP);
        succeed(install);
    })
}

/// A folder under `target/` for what is installed; made once, whole or not at all, by one process
/// while others wait.
fn installed(what: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("receivers");
    std::fs::create_dir_all(&root).unwrap();
    let word = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let home = root.join(what.trim().chars().map(word).collect::<String>());
    let lock = std::fs::File::create(home.with_added_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !home.exists() {
        let unfinished = TempDir::new_in(&root).unwrap();
        install(unfinished.path());
        std::fs::rename(unfinished.keep(), &home).unwrap();
    }
    home
}

fn succeed(command: Command) {
    let text = format!("{command:?}");
    let ran = run(command, Command::output);
    let complaint = String::from_utf8_lossy(&ran.stderr);
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text} fails; {WANTED}.\n{printed}{complaint}");
}

const WANTED: &str = "the receivers of docs/webhooks.md need Node.js with npm and Python 3 with \
                      venv: apt-get install nodejs npm python3 python3-venv";

fn run<T>(mut command: Command, how: impl FnOnce(&mut Command) -> std::io::Result<T>) -> T {
    how(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}; {WANTED}"))
}

#[test]
fn the_pages_rust_receiver_is_the_example_that_runs_here() {
    let example = include_str!("../../examples/webhook_receiver.rs");
    let (head, code) = example.split_once("\n\n").unwrap();
    assert!(head.lines().all(|line| line.starts_with("//! ") || line.starts_with("#![")));
    assert_eq!(code, block("rust"), "docs/webhooks.md and the example differ");
}

#[test]
fn the_request_that_the_page_shows_is_signed_as_the_page_says() {
    let page = page();
    let (secret, _) = page.split_once("(Signed with `").unwrap().1.split_once('`').unwrap();
    let shown = block("http");
    let (head, body) = shown.trim_end().split_once("\n\n").unwrap();
    let header =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
    let time = header("webhook-timestamp").parse().unwrap();
    let signed = Webhook::new(secret).unwrap().sign(header("webhook-id"), time, body.as_bytes());
    assert_eq!(header("webhook-signature"), signed.unwrap());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let plain = hex::encode(hmac::sign(&key, body.as_bytes()));
    assert_eq!(header("x-webhook-signature"), format!("sha256={plain}"));
}

#[test]
fn the_page_says_to_install_what_is_installed_here() {
    let page = page();
    for command in [
        format!("\nnpm install {}\n", NPM[0]),
        format!("\npip install {}\n", PIP[0]),
        format!("\npip install {}\n", PIP[1]),
    ] {
        assert!(page.contains(&command), "not on the page: {command}");
    }
}

#[tokio::test]
async fn the_node_receiver_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Language::Node, Signer::shared).await;
}

#[tokio::test]
async fn the_python_receiver_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Language::Python, Signer::shared).await;
}

#[tokio::test]
async fn the_rust_receiver_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Language::Rust, Signer::shared).await;
}

#[tokio::test]
async fn the_node_receiver_takes_what_is_signed_with_a_key_pair_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Language::Node, Signer::pair).await;
}

#[tokio::test]
async fn the_python_receiver_takes_what_is_signed_with_a_key_pair_and_nothing_else() {
    takes_what_is_signed_and_nothing_else(Language::Python, Signer::pair).await;
}

/// Who signs, and what a receiver is given to verify it.
struct Signer {
    key: String,
    with: With,
}

enum With {
    Secret(Webhook),
    Pair(Ed25519KeyPair),
}

impl Signer {
    /// With a secret of these bytes.
    fn shared(bytes: [u8; 32]) -> Self {
        let with = With::Secret(Webhook::from_bytes(bytes.to_vec()).unwrap());
        Self { key: format!("whsec_{}", STANDARD.encode(bytes)), with }
    }

    /// With a key pair of these bytes.
    fn pair(bytes: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&bytes).unwrap();
        let key = format!("whpk_{}", STANDARD.encode(pair.public_key()));
        Self { key, with: With::Pair(pair) }
    }

    fn sign(&self, id: &str, time: i64, body: &[u8]) -> String {
        match &self.with {
            With::Secret(webhook) => webhook.sign(id, time, body).unwrap(),
            With::Pair(pair) => {
                let message = [format!("{id}.{time}.").as_bytes(), body].concat();
                format!("v1a,{}", STANDARD.encode(pair.sign(&message)))
            }
        }
    }

    /// By somebody who has what the receiver is given, and signs in the way that it does not expect.
    fn the_other_way(&self, id: &str, time: i64, body: &[u8]) -> String {
        let key = self.key.split_once('_').unwrap().1;
        let key = STANDARD.decode(key).unwrap().try_into().unwrap();
        let other = match self.with {
            With::Secret(_) => Self::pair(key),
            With::Pair(_) => Self::shared(key),
        };
        other.sign(id, time, body)
    }
}

async fn takes_what_is_signed_and_nothing_else(language: Language, signer: fn([u8; 32]) -> Signer) {
    let (signer, other) = (signer([7; 32]), signer([8; 32]));
    let receiver = Receiver::start(language, &signer.key);
    let post = async |id: &str, ago_s: i64, signed: &[u8], body: &[u8]| {
        let time = seconds() - ago_s;
        send(&receiver.url, id, time, &signer.sign(id, time, signed), body.to_vec()).await
    };
    let good = json!({"type": "order.paid", "timestamp": "2026-07-20T10:00:00Z", "data": {"z": "ü", "a": 1}});
    let body = good.to_string().into_bytes();
    assert_eq!(post("evt_1", 0, &body, &body).await, Some(204));

    let mut tampered = body.clone();
    *tampered.iter_mut().find(|byte| **byte == b'1').unwrap() = b'9';
    assert_eq!(post("evt_2", 0, &body, &tampered).await, Some(400), "tampered");
    assert_eq!(post("evt_3", 600, &body, &body).await, Some(400), "ten minutes old");
    assert_eq!(post("evt_4", -600, &body, &body).await, Some(400), "from the future");
    let text = b"not JSON".to_vec();
    assert_eq!(post("evt_5", 0, &text, &text).await, Some(400), "signed, but not JSON");
    let bytes = vec![0xff, 0xfe];
    assert_eq!(post("evt_6", 0, &body, &bytes).await, Some(400), "not even text");
    refuses_other_signatures(&receiver, &signer, &other, &body).await;
    // After a rotation both secrets sign, in either order, and a receiver may know the old or the new
    // one; beside signatures of a kind that it does not know it finds the one that it does.
    let at = seconds();
    let good = signer.sign("evt_10", at, &body);
    let others = other.sign("evt_10", at, &body);
    let unknown = if good.starts_with("v1a,") { "v1,AAAA" } else { "v1a,AAAA" };
    for both in [
        format!("{good} {others}"),
        format!("{others} {good}"),
        format!("{unknown} {others} {good}"),
    ] {
        let answer = send(&receiver.url, "evt_10", at, &both, body.clone()).await;
        assert_eq!(answer, Some(204), "signed by two: {both}");
    }
    let bare = client().post(&receiver.url).body(body.clone()).send().await.unwrap();
    assert_eq!(bare.status(), 400, "without any header");

    // It may close before all of it is sent; then there is no answer to read.
    let large = vec![b' '; 600 * 1024];
    let refused = post("evt_8", 0, &large, &large).await;
    assert!(refused.is_none_or(|status| status == 413), "{refused:?} for 600 KiB");

    assert_eq!(post("evt_9", 0, &body, &body).await, Some(204), "it still lives");
    receiver.event("evt_9").await;
    let expected = ["evt_1", "evt_10", "evt_10", "evt_10", "evt_9"]
        .map(|id| json!({"id": id, "type": "order.paid", "data": {"z": "ü", "a": 1}}));
    assert_eq!(receiver.printed(), expected);
}

async fn refuses_other_signatures(
    receiver: &Receiver,
    signer: &Signer,
    other: &Signer,
    body: &[u8],
) {
    let at = seconds();
    let others = other.sign("evt_7", at, body);
    let (version, value) = others.split_once(',').unwrap();
    let own = signer.sign("evt_7", at, body);
    for signature in [
        others.clone(),
        signer.the_other_way("evt_7", at, body),
        own.replacen("v1", "v2", 1),
        format!("{version}, {}", own.split_once(',').unwrap().1),
        format!("{version},"),
        version.to_owned(),
        format!("{version},###"),
        format!("{version},A"),
        format!("{version},AAAA"),
        format!("{version},{}", "A".repeat(value.len())),
        "nonsense".to_owned(),
        ",".to_owned(),
    ] {
        let answer = send(&receiver.url, "evt_7", at, &signature, body.to_vec()).await;
        assert_eq!(answer, Some(400), "the signature {signature}");
    }
}

/// The status; `None` without an answer.
async fn send(url: &str, id: &str, time: i64, signature: &str, body: Vec<u8>) -> Option<u16> {
    let request = client().post(url).body(body).header("webhook-id", id);
    let request = request.header("webhook-timestamp", time).header("webhook-signature", signature);
    Some(request.send().await.ok()?.status().as_u16())
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}
