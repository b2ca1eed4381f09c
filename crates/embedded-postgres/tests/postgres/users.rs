//! Users: root with a folder that PostgreSQL's user cannot enter, and ordinary users.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::support::{Holder, Place, am_root, psql, told_to_hold};
use freehold_embedded_postgres::{Options, Orphan, Server, orphans};

/// The user nobody, on every system we know.
const NOBODY: u32 = 65534;

/// Says so when a test cannot run, which would otherwise look as if it had passed.
fn is_root_or_says_that_it_skips() -> bool {
    if !am_root() {
        // Not `eprintln!`, which the test harness keeps to itself for tests that pass.
        let mut stderr = std::io::stderr();
        stderr.write_all(b"SKIPPED: this test needs root\n").unwrap();
    }
    am_root()
}

fn orphan_of(place: &Place) -> Option<Orphan> {
    orphans().into_iter().find(|orphan| orphan.owner == place.data())
}

#[test]
fn a_folder_that_the_server_cannot_enter_has_its_cluster_in_the_system_folder() {
    if !is_root_or_says_that_it_skips() {
        return;
    }
    let place = Place::with_mode(0o700);
    let server = place.start();
    let home = server.cluster_dir().parent().unwrap().to_path_buf();
    assert!(home.starts_with("/var/lib/freehold"), "{home:?}");
    assert!(server.notices()[0].contains(home.to_str().unwrap()), "{:?}", server.notices());
    assert!(server.socket_dir().starts_with("/run"), "{:?}", server.socket_dir());
    psql(&server, "postgres", "CREATE TABLE t AS SELECT 1 AS n").unwrap();
    assert!(place.data().join("postgres.log").exists());
    server.stop().unwrap();

    let server = place.start();
    assert_eq!(psql(&server, "postgres", "SELECT n FROM t").unwrap(), "1");
    assert!(server.notices()[0].contains(home.to_str().unwrap()), "said at every start");
    server.stop().unwrap();

    assert_eq!(orphan_of(&place), None);
    let moved = place.root().join("moved");
    fs::rename(place.data(), &moved).unwrap();
    let orphan = orphan_of(&place).unwrap();
    assert_eq!(orphan.home, home);
    fs::rename(moved, place.data()).unwrap();
}

#[test]
fn a_moved_folder_keeps_its_cluster_and_a_copied_one_does_not_get_it() {
    if !is_root_or_says_that_it_skips() {
        return;
    }
    let place = Place::with_mode(0o700);
    place.start().stop().unwrap();
    let moved = place.root().join("moved");
    fs::rename(place.data(), &moved).unwrap();
    let mut options = place.options();
    options.data_dir.clone_from(&moved);
    Server::start(&options).unwrap().stop().unwrap();
    assert_eq!(orphan_of(&place), None, "the system folder knows where it has gone");

    fs::create_dir(place.data()).unwrap();
    fs::copy(moved.join("instance.json"), place.data().join("instance.json")).unwrap();
    let error = place.error();
    assert!(error.contains("is a copy"), "{error}");
    assert!(error.contains(moved.to_str().unwrap()), "{error}");
}

/// Not a test on its own: what the process does that runs as an ordinary user.
#[test]
fn serves_the_folder_it_was_told_to_as_an_ordinary_user() {
    let Some(dir) = told_to_hold() else { return };
    assert!(!am_root());
    let options = Options { durable: false, ..Options::new(&dir) };
    let server = Server::start(&options).unwrap();
    assert_eq!(server.notices(), [] as [&str; 0]);
    psql(&server, "postgres", "DROP ROLE IF EXISTS freehold_app").unwrap();
    psql(&server, "postgres", "CREATE ROLE freehold_app LOGIN").unwrap();
    assert_eq!(psql(&server, "freehold_app", "SELECT current_user").unwrap(), "freehold_app");
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    // Adoption, and a socket elsewhere, as an ordinary user.
    server.detach();
    let server = Server::start(&options).unwrap();
    assert!(server.was_running());
    server.stop().unwrap();
    let long = dir.join("a-name-that-is-long".repeat(6));
    let options = Options { data_dir: long, ..options };
    let server = Server::start(&options).unwrap();
    assert!(server.socket_dir().starts_with("/tmp"), "{:?}", server.socket_dir());
    assert_eq!(psql(&server, "postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn an_ordinary_user_gets_a_server_too_and_root_may_use_it_later() {
    if !is_root_or_says_that_it_skips() {
        return;
    }
    let place = Place::new();
    chown(place.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    // The user may not be able to enter the folder this program was built in.
    let program = place.root().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let name = "users::serves_the_folder_it_was_told_to_as_an_ordinary_user";
    assert!(Holder::start(&program, name, &place.data(), Some(NOBODY)).passes());

    let server = place.start();
    assert_eq!(fs::metadata(server.cluster_dir()).unwrap().uid(), NOBODY);
    assert_eq!(psql(&server, "freehold_app", "SELECT current_user").unwrap(), "freehold_app");
    server.stop().unwrap();
    // What root has touched, the user can still use.
    assert!(Holder::start(&program, name, &place.data(), Some(NOBODY)).passes());
}
