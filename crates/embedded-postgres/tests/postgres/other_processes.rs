//! Several processes and one folder: refusals, `kill -9`, and stale pid files.

use std::env::current_exe;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Holder, Place, eventually, postmaster_pid, psql, told_to_hold};
use freehold_embedded_postgres::{Options, Server};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Not a test on its own: what the process does that another test starts and kills.
#[test]
fn holds_the_folder_it_was_told_to() {
    if let Some(dir) = told_to_hold() {
        let _server = Server::start(&Options { durable: false, ..Options::new(&dir) }).unwrap();
        fs::write(dir.parent().unwrap().join("held"), "").unwrap();
        loop {
            std::thread::park();
        }
    }
}

/// A process that runs a server in the place.
fn holder(place: &Place) -> Holder {
    let program = current_exe().unwrap();
    let held = place.root().join("held");
    let holder = Holder::start(
        &program,
        "other_processes::holds_the_folder_it_was_told_to",
        &place.data(),
        None,
    );
    eventually("the other process has its server", || held.exists());
    holder
}

fn is_alive(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[test]
fn a_second_start_is_refused_naming_the_folder_and_the_holder() {
    let place = Place::new();
    let holder = holder(&place);
    let error = place.error();
    assert!(error.contains(place.data().to_str().unwrap()), "{error}");
    assert!(error.contains(&format!("process {}", holder.pid())), "{error}");
    holder.kill();
    place.start().stop().unwrap();
}

#[test]
fn a_second_start_in_the_same_process_is_refused_too() {
    let place = Place::new();
    let first = place.start();
    assert!(place.error().contains(&format!("process {}", std::process::id())));
    assert_eq!(psql(&first, "postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn a_server_that_outlived_its_killed_parent_is_used_again() {
    let place = Place::new();
    let holder = holder(&place);
    let before = postmaster_pid(&place.cluster().unwrap());
    holder.kill();
    let mut options = place.options();
    options.roles.push("newcomer".into());
    let server = Server::start(&options).unwrap();
    assert!(server.was_running());
    assert!(server.notices()[0].contains(&before.to_string()), "{:?}", server.notices());
    assert_eq!(postmaster_pid(server.cluster_dir()), before);
    // The configuration has been read again, asynchronously.
    psql(&server, "postgres", "CREATE ROLE newcomer LOGIN").unwrap();
    eventually("the new role is let in", || psql(&server, "newcomer", "SELECT 1").is_ok());
    assert!(place.error().contains("in use"));
    server.stop().unwrap();
    assert!(!place.cluster().unwrap().join("postmaster.pid").exists());
    assert!(!place.data().join("run").exists());
}

#[test]
fn a_detached_server_is_found_again_and_stopped_in_the_end() {
    let place = Place::new();
    place.start().detach();
    let server = place.start();
    assert!(server.was_running());
    let pid = postmaster_pid(server.cluster_dir());
    server.stop().unwrap();
    assert!(!is_alive(pid));
    assert!(!place.start().was_running());
}

#[test]
fn a_server_whose_socket_was_removed_is_started_anew() {
    let place = Place::new();
    place.start().detach();
    fs::remove_dir_all(place.data().join("run")).unwrap();
    let server = place.start();
    assert!(!server.was_running());
    assert_eq!(psql(&server, "postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn a_server_killed_without_warning_recovers() {
    let place = Place::new();
    let options = Options { durable: true, ..place.options() };
    let server = Server::start(&options).unwrap();
    psql(&server, "postgres", "CREATE TABLE t AS SELECT 7 AS n").unwrap();
    let cluster = server.cluster_dir().to_path_buf();
    let pid = Pid::from_raw(postmaster_pid(&cluster)).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    server.stop().unwrap();
    assert!(cluster.join("postmaster.pid").exists(), "the file is stale now");
    let server = Server::start(&options).unwrap();
    assert!(!server.was_running());
    assert_eq!(psql(&server, "postgres", "SELECT n FROM t").unwrap(), "7");
}

/// A pid file as a crash leaves it, whose number now belongs to a process.
fn write_stale_pid_file(cluster: &Path, pid: u32) {
    let text = format!(
        "{pid}\n{}\n1700000000\n5432\n/nowhere\n\n  5432001 999999\nready   \n",
        cluster.display()
    );
    let file = cluster.join("postmaster.pid");
    fs::write(&file, text).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(cluster).unwrap());
    std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
}

#[test]
fn a_pid_file_that_names_a_dead_process_is_no_obstacle() {
    let place = Place::new();
    place.start().stop().unwrap();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    write_stale_pid_file(&place.cluster().unwrap(), dead.id());
    let server = place.start();
    assert!(!server.was_running());
    assert_eq!(psql(&server, "postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn a_pid_file_that_names_another_program_is_no_obstacle() {
    let place = Place::new();
    place.start().stop().unwrap();
    let cluster = place.cluster().unwrap();
    // PostgreSQL itself gives up only when the process is of its own user.
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&cluster).unwrap());
    let mut other = Command::new("cat");
    other.stdin(Stdio::piped()).stdout(Stdio::null());
    if crate::support::am_root() {
        other.uid(owner);
    }
    let mut other = other.spawn().unwrap();
    write_stale_pid_file(&cluster, other.id());
    let server = place.start();
    assert!(!server.was_running());
    assert_eq!(psql(&server, "postgres", "SELECT 1").unwrap(), "1");
    server.stop().unwrap();
    assert!(other.try_wait().unwrap().is_none(), "the other program was left alone");
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn a_server_of_another_folder_is_not_mistaken_for_ours() {
    let (ours, theirs) = (Place::new(), Place::new());
    ours.start().stop().unwrap();
    let other = theirs.start();
    let pid = postmaster_pid(other.cluster_dir());
    write_stale_pid_file(&ours.cluster().unwrap(), u32::try_from(pid).unwrap());
    let server = ours.start();
    assert!(!server.was_running());
    assert_ne!(postmaster_pid(server.cluster_dir()), pid);
    server.stop().unwrap();
    assert_eq!(psql(&other, "postgres", "SELECT 1").unwrap(), "1");
}
