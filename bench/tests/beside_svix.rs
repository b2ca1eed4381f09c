//! `freehold-bench --svix` against a stand-in for svix-server, `tests/svix-server`: that both are
//! started, loaded, counted and stopped. Its figures say nothing about svix-server.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than a run on a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a run needs beside PostgreSQL, and `bench/beside-svix` installs.
fn is_missing() -> bool {
    let missing = ["wrk", "redis-server", "python3"].into_iter().find(|program| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).output();
        found.is_err()
    });
    if let Some(program) = missing {
        eprintln!("SKIPPED: {program} is missing");
    }
    missing.is_some()
}

/// A folder that PostgreSQL, which root runs as another user, can enter.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// A short run whose temporary files lie in this folder.
fn bench(folder: &TempDir, fault: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold-bench"));
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/svix-server");
    command
        .args(["--rounds=1", "--tenants=2", "--connections=4", "--rate=20"])
        .arg("--svix")
        .arg(stand_in)
        .env("TMPDIR", folder.path())
        .env("SVIX_LOG_LEVEL", "what the shell has is not passed on")
        .env("STAND_IN_FAULT", fault);
    command
}

fn run(folder: &TempDir, fault: &str) -> (Output, String, String) {
    let output = bench(folder, fault).arg("--seconds=1").output().unwrap();
    let [said, faults] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    (output, said, faults)
}

/// Neither files nor processes: whoever was started names the folder or what is in it.
fn nothing_is_left(folder: &TempDir) {
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    let of_folder = |pid: &str| {
        let proc = Path::new("/proc").join(pid);
        let names = |file: &str| std::fs::read(proc.join(file)).unwrap_or_default();
        // Redis writes its title over both; where it stands, it cannot hide.
        let stands = std::fs::read_link(proc.join("cwd")).unwrap_or_default();
        let stands = stands.into_os_string().into_encoded_bytes();
        let text = [names("cmdline"), names("environ"), stands].concat();
        let path = folder.path().as_os_str().as_encoded_bytes();
        text.windows(path.len()).any(|part| part == path)
    };
    let began = Instant::now();
    loop {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let left: Vec<_> =
            pids.filter(|pid| pid.parse::<u32>().is_ok() && of_folder(pid)).collect();
        if left.is_empty() {
            return;
        }
        // What was killed may take a moment to be gone.
        assert!(began.elapsed() < Duration::from_secs(20), "still running: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn both_are_measured_and_stand_in_one_table() {
    if is_missing() {
        return;
    }
    let folder = folder();
    let (output, said, faults) = run(&folder, "");
    assert!(output.status.success(), "{faults}");
    assert!(
        said.starts_with("| What | Freehold | svix-server 0.0.0-stand-in | Ratio |\n"),
        "{said}"
    );
    for line in [
        "as many as go through: accepted, sent and logged",
        "as many as go through: accepted, p99",
        "as many as go through: behind when the load ends",
        "as many as go through: processor time for each, server and Redis",
        "as many as go through: processor time for each, PostgreSQL",
        "at 100/s: from post to receiver, p50",
        "at 100/s: accepted, p99",
        "at 20/s: from post to receiver, p99",
        "at 20/s: accepted, p50",
        "at 20/s: not at the receiver when the last is posted",
        "resident memory of the server at the end",
    ] {
        let found = said.lines().find(|text| text.starts_with(&format!("| {line} |")));
        let found = found.unwrap_or_else(|| panic!("no {line}:\n{said}"));
        assert!(!found.contains("NaN"), "one side was not measured: {found}");
    }
    // The same work for both, down to the bytes.
    let bytes = said.split_once(" bytes (").expect("no bytes");
    let ours = bytes.0.rsplit(' ').next();
    assert_eq!(ours, bytes.1.split(' ').next(), "{said}");
    nothing_is_left(&folder);
}

#[test]
fn a_svix_server_that_does_not_start_shows_the_end_of_its_log() {
    if is_missing() {
        return;
    }
    let folder = folder();
    let (output, said, faults) = run(&folder, "start");
    assert!(!output.status.success() && said.is_empty(), "{said}");
    assert!(faults.contains("svix-server ended with exit status: 101"), "{faults}");
    assert!(faults.contains("the stand-in was told not to start"), "{faults}");
    nothing_is_left(&folder);
}

#[test]
fn a_svix_server_that_dies_under_load_shows_the_end_of_its_log() {
    if is_missing() {
        return;
    }
    let folder = folder();
    let (output, said, faults) = run(&folder, "load");
    assert!(!output.status.success() && said.is_empty(), "{said}");
    assert!(faults.contains("the stand-in was told to end under load"), "{faults}");
    nothing_is_left(&folder);
}

#[test]
fn messages_that_do_not_arrive_fail_the_run_and_say_why() {
    if is_missing() {
        return;
    }
    let folder = folder();
    let (output, said, faults) = run(&folder, "lost");
    assert!(!output.status.success() && said.is_empty(), "{said}");
    assert!(faults.contains("0 arrived; the last failed attempt: 400 Bad Request"), "{faults}");
    nothing_is_left(&folder);
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing_behind() {
    if is_missing() {
        return;
    }
    let folder = folder();
    let mut child = bench(&folder, "").arg("--seconds=60").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let under_load = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("round 1"));
    assert!(under_load, "it never came to a round");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said:?}");
    assert!(said.iter().any(|line| line.contains("interrupted")), "{said:?}");
    nothing_is_left(&folder);
}

#[test]
fn a_path_without_a_binary_and_rows_without_a_path_are_refused() {
    let bench = || Command::new(env!("CARGO_BIN_EXE_freehold-bench"));
    let output = bench().args(["--only", "svix-rate"]).output().unwrap();
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && faults.contains("--svix PATH"), "{faults}");
    let output = bench().args(["--only", "read", "--svix", "/bin/true"]).output().unwrap();
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && faults.contains("go together"), "{faults}");
    let output = bench().args(["--svix", "/nowhere/svix-server"]).output().unwrap();
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && faults.contains("no svix-server at"), "{faults}");
}
