//! An installation of several nodes over one database: those that serve, those that work.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freehold_embedded_postgres::{Options, Server};
use freehold_testkit::Pooler;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::process::folder;

pub(crate) const KEY: &str = "a secret key of thirty-two bytes and more";

/// A node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    said: String,
}

impl Node {
    /// Starts one and waits for the line that says it is there.
    pub(crate) fn start(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = command(folder, arguments, environment).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.into_iter().find(|line| line.starts_with("Freehold "));
        let Some(said) = said else {
            let mut complaint = String::new();
            child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
            panic!("{arguments:?} did not start: {complaint}");
        };
        // A pipe that nobody empties would hold up whoever logs.
        let mut log = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, said }
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&self) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn wait_for_a_good_end(&mut self) {
        assert!(self.child.wait().unwrap().success(), "{}", self.said);
    }

    /// Stops it as a service manager would.
    pub(crate) fn stop(mut self) {
        self.ask_to_stop();
        self.wait_for_a_good_end();
    }

    /// Whether it has not ended.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn command(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["DATABASE_URL", "FREEHOLD_SECRET_KEY", "FREEHOLD_PUBLIC_URL", "PORT"] {
        command.env_remove(variable);
    }
    command.env("FREEHOLD_METRICS", "off").env("FREEHOLD_LIMIT_DRAIN_SECONDS", "0");
    command.envs(environment.iter().copied());
    command
}

/// A database that has been migrated, and what a node has to know of it.
fn database(folder: &Path) -> (Server, Option<Pooler>, Vec<(&'static str, String)>) {
    let options = Options { durable: false, ..Options::new(folder.join("postgres")) };
    let postgres = Server::start(&options).unwrap();
    let owner = postgres.url("postgres", "postgres");
    let migrated = command(folder, &["migrate"], &[("DATABASE_OWNER_URL", &owner)]).output();
    assert!(migrated.unwrap().status.success());
    let (pooler, environment) = pooled(&postgres);
    (postgres, pooler, environment)
}

/// What a node has to know of this PostgreSQL: the login of `freehold_app`, by way of a pooler where
/// tests go through one.
pub(crate) fn pooled(postgres: &Server) -> (Option<Pooler>, Vec<(&'static str, String)>) {
    let app = postgres.url("freehold_app", "postgres");
    if !Pooler::is_wanted() {
        return (None, vec![("DATABASE_URL", app)]);
    }
    let pooler = Pooler::start(postgres.socket_dir()).unwrap();
    let environment = vec![
        ("DATABASE_URL", pooler.before(&app)),
        ("DATABASE_DIRECT_URL", postgres.url("freehold_system", "postgres")),
        ("DATABASE_POOLER", "transaction".to_owned()),
    ];
    (Some(pooler), environment)
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn a_node_that_lacks_something_names_it_and_says_what_to_do() {
    let folder = folder();
    let url = ("DATABASE_URL", "postgres://freehold_app@127.0.0.1:1/freehold");
    let key = ("FREEHOLD_SECRET_KEY", KEY);
    let public = ("FREEHOLD_PUBLIC_URL", "https://app.example.com");
    let weak = ("FREEHOLD_SECRET_KEY", "changeme");
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for (arguments, environment, named) in [
        (&listen[..], vec![key, public], "DATABASE_URL"),
        (&listen, vec![url, public], "FREEHOLD_SECRET_KEY"),
        (&listen, vec![url, key], "FREEHOLD_PUBLIC_URL"),
        (&listen, vec![url, weak, public], "FREEHOLD_SECRET_KEY"),
        (&listen, vec![url, key, public], "does not answer"),
        (&["work"], vec![key], "DATABASE_URL"),
        (&["work"], vec![url], "FREEHOLD_SECRET_KEY"),
    ] {
        let refused = command(folder.path(), arguments, &environment).output().unwrap();
        let complaint = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && complaint.contains(named), "{named}: {complaint}");
    }
}

#[test]
fn the_script_starts_three_nodes_and_leaves_nothing_behind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(root.join("scripts/nodes"));
    for variable in ["DATABASE_URL", "FREEHOLD_SECRET_KEY", "FREEHOLD_PUBLIC_URL", "PORT"] {
        command.env_remove(variable);
    }
    command.env("FREEHOLD_PROGRAM", env!("CARGO_BIN_EXE_freehold")).stdout(Stdio::piped());
    let mut script = command.spawn().unwrap();
    let lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut addresses, mut workers, mut folder) = (Vec::new(), 0, None);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["node", _, "serves", "at", url, ..] => addresses.push(url.replace("http://", "")),
            ["worker", _, "works", ..] => workers += 1,
            ["Logs", "are", "in", path, ..] => {
                folder = Some(path.trim_end_matches('.').to_owned());
                break;
            }
            _ => {}
        }
    }
    assert_eq!((addresses.len(), workers), (2, 1));
    for address in &addresses {
        assert!(TcpStream::connect(address).is_ok(), "{address}");
    }
    kill_process(Pid::from_raw(script.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert!(script.wait().unwrap().success());
    for address in &addresses {
        assert!(TcpStream::connect(address).is_err(), "{address} is still there");
    }
    assert!(!Path::new(&folder.unwrap()).exists(), "the folder has gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_is_asked_for_another_one_does() {
    let folder = folder();
    let (postgres, _pooler, known) = database(folder.path());
    let (address, other) = (free_address(), free_address());
    let mut environment =
        vec![("FREEHOLD_SECRET_KEY", KEY), ("FREEHOLD_PUBLIC_URL", "https://app.example.com")];
    environment.extend(known.iter().map(|(name, value)| (*name, value.as_str())));
    let listen = |address: SocketAddr| ["serve".to_owned(), "--listen".into(), address.to_string()];
    let [one, two] = [address, other].map(|address| {
        let arguments = listen(address);
        Node::start(folder.path(), &arguments.each_ref().map(String::as_str), &environment)
    });
    let client = reqwest::Client::new();
    let person = json!({
        "email": "ada@example.org", "password": "tarn-Kelp7-obverse", "name": "Ada",
    });
    let post = async |address: SocketAddr, path: &str, token: &str, body: &Value| {
        let url = format!("http://{address}/api/v1{path}");
        let request =
            client.post(url).bearer_auth(token).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let token = post(address, "/auth/register", "", &person).await["accessToken"].clone();
    let token = token.as_str().unwrap();
    let hook = json!({"url": "https://no-such-name.example.org/", "events": ["order.*"]});
    let webhook = post(address, "/webhooks", token, &hook).await["id"].clone();
    let event = json!({"type": "order.paid", "data": {}});
    post(other, "/events", token, &event).await;

    let log = format!("http://{other}/api/v1/webhooks/{}/deliveries", webhook.as_str().unwrap());
    let newest = async || {
        let answer = client.get(&log).bearer_auth(token).send().await.unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["data"][0].clone()
    };
    let waiting = newest().await;
    assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("pending"), &json!(0)));
    let worker = Node::start(folder.path(), &["work"], &environment);
    let began = Instant::now();
    loop {
        let delivery = newest().await;
        // A name that nobody has: tried, and said so.
        if delivery["attempts"].as_u64() >= Some(1) {
            assert!(
                delivery["error"].as_str().is_some_and(|error| !error.is_empty()),
                "{delivery}"
            );
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nobody worked on it: {delivery}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    [one, two, worker].into_iter().for_each(Node::stop);
    postgres.stop().unwrap();
}
