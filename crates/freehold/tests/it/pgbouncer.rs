//! The journeys once more, by way of PgBouncer in transaction mode: the same tests, told by a
//! variable. Any test may be run like that: `FREEHOLD_TEST_POOLER=transaction cargo nextest run`.

use std::process::Command;

/// The product's tour, a customer's first hour, webhooks to every kind of receiver, nodes that work
/// for others, sessions that end on three nodes at once.
const JOURNEYS: [&str; 5] = [
    "tour::",
    "journey::",
    "webhooks::an_event_reaches",
    "nodes::what_one_node",
    "revocation::an_ended_session",
];

#[test]
fn every_journey_works_through_a_pooler_in_transaction_mode() {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(JOURNEYS)
        .args(["--test-threads", "2"])
        .env("FREEHOLD_TEST_POOLER", "transaction")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let tests = said.lines().filter(|line| line.ends_with(" ... ok")).count();
    assert!(tests >= 8, "{tests} of the journeys ran: {said}");
}
