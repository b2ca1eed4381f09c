//! `freehold up` as people and accidents treat it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Freehold, Start, folder};
use rustix::process::{Signal, getuid};

#[test]
fn the_first_starts_credentials_are_private_and_sign_in_after_a_restart() {
    let folder = folder();
    let data = folder.path().join("data");
    let first = Start::in_folder(&data).run();
    assert!(first.said.contains("operator@freehold.example"), "{}", first.said);
    assert!(first.stop().success());
    let file = data.join("credentials.json");
    for private in [&file, &data.join("secret.key")] {
        assert_eq!(std::fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = Start::in_folder(&data).run();
    assert!(!again.said.contains("operator@"), "they are shown once: {}", again.said);
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for person in [&kept["operator"], &kept["demo"]] {
        assert!(sign_in(&again, person).contains("accessToken"), "{person}");
    }
}

#[test]
fn an_address_in_use_is_said_at_once_with_what_to_type() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    let data = folder.path().join("data");
    let refused = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(["up", "--listen", &address, "--data-dir"])
        .arg(&data)
        .output()
        .unwrap();
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint.contains(&address) && complaint.contains("--listen"), "{complaint}");
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_second_instance_on_the_same_folder_is_refused() {
    let folder = folder();
    let data = folder.path().join("data");
    let _first = Start::in_folder(&data).run();
    let second = Start::in_folder(&data).command().output().unwrap();
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(complaint.contains(&*data.to_string_lossy()), "{complaint}");
}

#[test]
fn after_kill_9_the_next_start_has_everything_that_was_acknowledged() {
    let folder = folder();
    let data = folder.path().join("data");
    let first = Start::in_folder(&data).run();
    let body = r#"{"email":"ada@example.org","password":"tarn-Kelp7-obverse","name":"Ada"}"#;
    let registered = curl(&first, "/api/v1/auth/register", body);
    assert!(registered.contains("accessToken"), "{registered}");
    first.kill();
    let again = Start::in_folder(&data).run();
    let login = r#"{"email":"ada@example.org","password":"tarn-Kelp7-obverse"}"#;
    assert!(curl(&again, "/api/v1/auth/login", login).contains("accessToken"));
}

#[test]
fn a_first_start_that_is_cut_short_is_finished_by_the_next_one() {
    let folder = folder();
    // Killed at different points: secrets on disk, database made, half migrated, people made.
    for (number, delay_ms) in [0, 150, 400, 800].into_iter().enumerate() {
        let data = folder.path().join(format!("data{number}"));
        let mut cut_short = Start::in_folder(&data).command().spawn().unwrap();
        let file = data.join("credentials.json");
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(5));
            assert!(cut_short.try_wait().unwrap().is_none(), "it ended by itself");
        }
        std::thread::sleep(Duration::from_millis(delay_ms));
        cut_short.kill().unwrap();
        cut_short.wait().unwrap();
        let finished = Start::in_folder(&data).run();
        let kept: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(kept["shown"], true);
        for person in [&kept["operator"], &kept["demo"]] {
            assert!(sign_in(&finished, person).contains("accessToken"), "{delay_ms} ms: {person}");
        }
    }
}

#[test]
fn sigterm_ends_it_and_leaves_no_database_behind() {
    let folder = folder();
    let data = folder.path().join("data");
    let running = Start { arguments: &["--no-demo"], ..Start::in_folder(&data) }.run();
    assert!(!running.said.contains("demo"), "--no-demo makes none: {}", running.said);
    assert!(running.stop().success());
    assert!(processes_on(&data).is_empty(), "{:?}", processes_on(&data));
}

#[test]
fn a_word_it_does_not_know_in_the_file_is_an_error_that_names_it() {
    let folder = folder();
    std::fs::write(folder.path().join("freehold.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .arg("up")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(complaint.contains("lisen"), "{complaint}");
}

#[test]
fn an_ordinary_user_needs_nothing_more() {
    const NOBODY: u32 = 65_534;
    if !getuid().is_root() {
        // Then every other test here has proved it.
        return;
    }
    let folder = folder();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let program = folder.path().join("freehold");
    std::fs::copy(env!("CARGO_BIN_EXE_freehold"), &program).unwrap();
    let data = folder.path().join("data");
    let running = Start { uid: Some(NOBODY), program, ..Start::in_folder(&data) }.run();
    let ready =
        Command::new("curl").args(["-s", &format!("{}/health/ready", running.url)]).output();
    assert!(String::from_utf8(ready.unwrap().stdout).unwrap().contains("ok"));
    running.signal(Signal::INT);
    assert!(running.stop().success());
}

fn sign_in(freehold: &Freehold, person: &serde_json::Value) -> String {
    let body = serde_json::json!({"email": person["email"], "password": person["password"]});
    curl(freehold, "/api/v1/auth/login", &body.to_string())
}

fn curl(freehold: &Freehold, path: &str, body: &str) -> String {
    let url = format!("{}{path}", freehold.url);
    let ran = Command::new("curl")
        .args(["-s", &url, "-H", "content-type: application/json", "-d", body])
        .output()
        .unwrap();
    String::from_utf8(ran.stdout).unwrap()
}

/// Command lines that name the folder.
fn processes_on(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains("postgres") && line.contains(&folder))
        .collect()
}
