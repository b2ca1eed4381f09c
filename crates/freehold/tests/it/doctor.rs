//! `freehold doctor`: what it finds, and that it gives nothing away.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use freehold_embedded_postgres::{Options, Server};
use freehold_testkit::{Pooler, TestApp};
use serde_json::Value;

use crate::life;
use crate::process::{folder, run};

const KEY: &str = "a secret that only tests may know";

/// What a node is started with.
fn complete(app: &TestApp) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("DATABASE_URL", app.database_url("freehold_app")),
        ("DATABASE_SYSTEM_URL", app.database_url("freehold_system")),
        ("FREEHOLD_SECRET_KEY", KEY.to_owned()),
        ("FREEHOLD_PUBLIC_URL", "https://app.example.com".to_owned()),
        ("FREEHOLD_LISTEN", "127.0.0.1:0".to_owned()),
        ("FREEHOLD_POOL_SIZE", "4".to_owned()),
    ])
}

/// The checks by name; asserts that the code of the process says the same.
fn ask(folder: &Path, arguments: &[&str], environment: &BTreeMap<&str, String>) -> Checks {
    let environment: Vec<_> = environment.iter().map(|(name, text)| (*name, &**text)).collect();
    let ran = run(folder, &[&["doctor", "--json"], arguments].concat(), &environment);
    let report: Value = serde_json::from_str(&ran.said)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ran.said, ran.complaint));
    assert_eq!(report["ok"], Value::Bool(ran.code == 0), "{}", ran.complaint);
    let checks = report["checks"].as_array().unwrap().iter();
    Checks(checks.map(|check| (check["check"].as_str().unwrap().into(), check.clone())).collect())
}

struct Checks(BTreeMap<String, Value>);

impl Checks {
    /// Asserts how a check went and that all these words were said; a failure says what to do.
    #[track_caller]
    fn says(&self, check: &str, status: &str, words: &[&str]) -> &Self {
        let found = self.0.get(check).unwrap_or_else(|| panic!("no {check} in {:?}", self.0));
        assert_eq!(found["status"], status, "{found}");
        assert_eq!(status == "ok", found["do"].is_null(), "{found}");
        for word in words {
            assert!(found.to_string().contains(word), "{word}: {found}");
        }
        self
    }

    fn all(&self, status: &str) -> Vec<&str> {
        let of = self.0.iter().filter(|(_, check)| check["status"] == status);
        of.map(|(name, _)| &**name).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_can_start_is_found_well() {
    let (app, folder) = (life::app().await, folder());
    let checks = ask(folder.path(), &[], &complete(&app));
    assert!(checks.all("fail").is_empty(), "{:?}", checks.0);
    for check in [
        "secret-key",
        "public-url",
        "listen",
        "database",
        "database-system",
        "postgresql",
        "clock",
        "pooler",
        "roles",
        "schema",
        "row-level-security",
        "sealed-data",
    ] {
        checks.says(check, "ok", &[]);
    }
    let ran = run(folder.path(), &["doctor", "--for", "up"], &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.said, ran.complaint);
    assert!(ran.said.contains("ok    secret-key: the first start makes it."), "{}", ran.said);
}

#[test]
fn what_a_node_lacks_is_named_with_what_to_do() {
    let folder = folder();
    let nothing = BTreeMap::new();
    ask(folder.path(), &["--for", "serve"], &nothing)
        .says("secret-key", "fail", &["FREEHOLD_SECRET_KEY", "openssl rand -hex 32"])
        .says("public-url", "fail", &["FREEHOLD_PUBLIC_URL", "https://"])
        .says("database", "fail", &["DATABASE_URL", "postgres://freehold_app:PASSWORD@"]);
    let plain = BTreeMap::from([
        ("FREEHOLD_PUBLIC_URL", "http://app.example.com".to_owned()),
        ("ALLOWED_ORIGINS", "http://shop.example.com".to_owned()),
        ("FREEHOLD_REGISTRATION", "verified".to_owned()),
    ]);
    ask(folder.path(), &["--for", "serve"], &plain)
        .says("public-url", "fail", &["unencrypted", "TLS"])
        .says("allowed-origins", "warn", &["http://shop.example.com"])
        .says("registration", "warn", &["no mailer"]);
    let wildcard = BTreeMap::from([("ALLOWED_ORIGINS", "*".to_owned())]);
    ask(folder.path(), &[], &wildcard).says("settings", "fail", &["ALLOWED_ORIGINS"]);
    for key in ["hunter2", "changeme-changeme-changeme-changeme"] {
        let weak = BTreeMap::from([("FREEHOLD_SECRET_KEY", key.to_owned())]);
        ask(folder.path(), &[], &weak).says("settings", "fail", &["FREEHOLD_SECRET_KEY"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_or_may_not_be_served_from_is_told_apart() {
    let (app, folder) = (life::app().await, folder());
    let well = complete(&app);
    let with = |variable: &'static str, value: &str| {
        let mut changed = well.clone();
        changed.insert(variable, value.to_owned());
        ask(folder.path(), &[], &changed)
    };
    with("DATABASE_URL", "postgres://freehold_app@127.0.0.1:1/freehold")
        .says("database", "fail", &["DATABASE_URL", "whether PostgreSQL runs"])
        .says("database-system", "ok", &[]);
    with("DATABASE_URL", &app.database_url("postgres")).says("roles", "fail", &["superuser"]);
    with("FREEHOLD_SECRET_KEY", "another secret, and as long as it must be").says(
        "sealed-data",
        "fail",
        &["FREEHOLD_SECRET_KEY_PREVIOUS"],
    );
    with("DATABASE_POOLER", "transaction").says("pooler", "warn", &["DATABASE_POOLER=none"]).says(
        "direct-url",
        "warn",
        &["DATABASE_DIRECT_URL"],
    );
    with("FREEHOLD_POOL_SIZE", "5000").says("connections", "fail", &["max_connections"]);

    let open = "alter table core.memberships no force row level security";
    sqlx::raw_sql(open).execute(app.sql()).await.unwrap();
    ask(folder.path(), &[], &well).says("row-level-security", "fail", &["core.memberships"]);
    let older = "delete from identity._migrations where version > 1";
    sqlx::raw_sql(older).execute(app.sql()).await.unwrap();
    ask(folder.path(), &[], &well).says("schema", "fail", &["identity has 1", "freehold migrate"]);
}

#[test]
fn roles_that_somebody_has_changed_are_found() {
    let folder = folder();
    let options = Options { durable: false, ..Options::new(folder.path().join("postgres")) };
    let postgres = Server::start(&options).unwrap();
    let owner = postgres.url("postgres", "postgres");
    let sql = |text: &str| {
        let psql = postgres.binaries().program("psql");
        let done = Command::new(psql).args(["-X", "-q", "-c", text, &owner]).status().unwrap();
        assert!(done.success(), "{text}");
    };
    let environment = BTreeMap::from([
        ("DATABASE_URL", postgres.url("freehold_app", "postgres")),
        ("FREEHOLD_SECRET_KEY", KEY.to_owned()),
        ("FREEHOLD_PUBLIC_URL", "https://app.example.com".to_owned()),
        ("FREEHOLD_LISTEN", "127.0.0.1:0".to_owned()),
    ]);
    let look = || ask(folder.path(), &[], &environment);
    look().says("database", "fail", &["freehold_app", "freehold migrate"]);
    let migrated = run(folder.path(), &["migrate"], &[("DATABASE_OWNER_URL", &owner)]);
    assert_eq!(migrated.code, 0, "{}", migrated.complaint);
    assert!(look().all("fail").is_empty());
    sql("alter role freehold_app bypassrls connection limit 5");
    look().says("roles", "fail", &["freehold_app", "BYPASSRLS"]).says(
        "connections",
        "fail",
        &["5"],
    );
    postgres.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_nobody_has_spoken_of_is_found() {
    let (app, folder) = (life::app().await, folder());
    let socket = app.database_url("postgres");
    let socket = socket.split_once("host=").unwrap().1.split('&').next().unwrap();
    let pooler = Pooler::start(Path::new(&socket.replace("%2F", "/"))).unwrap();
    let mut environment = complete(&app);
    let direct = environment["DATABASE_SYSTEM_URL"].clone();
    for variable in ["DATABASE_URL", "DATABASE_SYSTEM_URL"] {
        let through = pooler.before(&environment[variable]);
        environment.insert(variable, through);
    }
    let through = environment["DATABASE_SYSTEM_URL"].clone();
    ask(folder.path(), &[], &environment).says("pooler", "fail", &["DATABASE_POOLER=transaction"]);
    environment.insert("DATABASE_POOLER", "transaction".to_owned());
    environment.insert("DATABASE_DIRECT_URL", through);
    ask(folder.path(), &[], &environment).says("pooler", "ok", &[]).says(
        "direct-url",
        "fail",
        &["leads through the pooler"],
    );
    environment.insert("DATABASE_DIRECT_URL", direct);
    let checks = ask(folder.path(), &[], &environment);
    assert!(checks.says("direct-url", "ok", &[]).all("fail").is_empty(), "{:?}", checks.0);
}

#[test]
fn files_with_secrets_that_others_may_read_are_found() {
    let folder = folder();
    let data = folder.path().join(".freehold");
    std::fs::create_dir(&data).unwrap();
    let key = data.join("secret.key");
    std::fs::write(&key, "0a1b2c3d".repeat(8)).unwrap();
    let toml = folder.path().join("freehold.toml");
    std::fs::write(&toml, "# secret_key\nsecret_key = \"canary-canary-2-canary-3-canary-4\"")
        .unwrap();
    let mode = |mode| {
        for file in [&key, &toml] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        ask(folder.path(), &[], &BTreeMap::new())
    };
    mode(0o644).says("secret-key-file", "fail", &["644", "chmod 600 ./.freehold/secret.key"]).says(
        "freehold.toml",
        "fail",
        &["chmod 600 freehold.toml"],
    );
    mode(0o600).says("secret-key-file", "ok", &[]).says("freehold.toml", "ok", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_well_only_if_a_freehold_keeps_it() {
    let (app, folder) = (life::app().await, folder());
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    let ours = app.base_url().trim_start_matches("http://");
    let nothing = BTreeMap::new();
    ask(folder.path(), &["--listen", &taken], &nothing).says(
        "listen",
        "fail",
        &[&taken, "--listen"],
    );
    ask(folder.path(), &["--listen", ours], &nothing).says("listen", "ok", &["a Freehold"]);
}

#[test]
fn few_open_files_are_found() {
    let folder = folder();
    let limited = format!("ulimit -n 256; exec {} doctor", env!("CARGO_BIN_EXE_freehold"));
    let ran =
        Command::new("sh").args(["-c", &limited]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(said.contains("warn  open-files: this process may have 256"), "{said}");
}

#[test]
fn no_secret_is_ever_shown() {
    let folder = folder();
    let away = "postgres://someone:canary-1@127.0.0.1:1/freehold";
    let environment = [
        ("DATABASE_URL", away),
        ("DATABASE_SYSTEM_URL", "postgres://127.0.0.1:1/x?user=y&password=canary-2"),
        ("DATABASE_OWNER_URL", away),
        ("DATABASE_DIRECT_URL", "postgres://someone:canary-3@127.0.0.1:99999/freehold"),
        ("FREEHOLD_SECRET_KEY", "canary-4-and-as-long-as-it-has-to-be"),
        ("FREEHOLD_SECRET_KEY_PREVIOUS", "canary-5-and-as-long-as-it-has-to-be"),
        ("FREEHOLD_LOG", "trace"),
    ];
    let garbled = [("DATABASE_URL", "postgres://canary-6@canary-7@:canary-8")];
    let bad = [("FREEHOLD_OTLP_ENDPOINT", "https://canary-9:canary-0@collector.example.com")];
    for environment in [&environment[..], &garbled, &bad] {
        for arguments in [&["doctor"][..], &["doctor", "--json"], &["doctor", "--for", "up"]] {
            let ran = run(folder.path(), arguments, environment);
            assert_eq!(ran.code, 1);
            let all = ran.said + &ran.complaint;
            assert!(all.len() > 100 && !all.contains("canary"), "{all}");
        }
    }
}
