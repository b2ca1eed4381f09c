//! What an answer gives away.

use super::Caller;
use super::attacks::Attack;
use super::canaries::{Canaries, Heard};
use crate::Answer;

/// Headers that differ from answer to answer.
const EPHEMERAL: [&str; 6] = [
    "x-request-id:",
    "date:",
    "ratelimit",
    "x-ratelimit-",
    "content-length:",
    "idempotency-replayed:",
];

/// What is wrong with an answer, a sentence for each thing.
pub(super) fn of(
    caller: &Caller,
    attack: &Attack,
    answer: &Answer,
    twin: Option<&Answer>,
    canaries: &Canaries,
) -> Vec<String> {
    let mut findings = Vec::new();
    let mut report = |what: String| {
        findings.push(format!(
            "{} by {}, with {}: {what}",
            attack.route,
            name(caller),
            attack.place
        ));
    };
    let sent = format!("{:?}", attack.request);
    let said = format!("{}\n{}", answer.headers.join("\n"), answer.body);
    let heard = if attack.repeats { Heard::Anything } else { Heard::Sent(&sent) };
    for (canary, origin) in canaries.found(&said, heard) {
        report(format!(
            "the answer ({}) shows {canary}, which is {origin} of the other tenant; say \
             `tenant_id = $n` in the statement it comes from, and read it through Tx",
            answer.status
        ));
    }
    if answer.status >= 500 {
        report(format!(
            "it fails with {}; whatever a client sends, the answer is below 500",
            answer.status
        ));
    }
    if attack.is_known && caller.belongs && answer.status == 401 {
        report(format!(
            "it is answered {}, so that it proves nothing: the caller's credential has ended; ask \
             routes that end it later",
            answer.status
        ));
    }
    let succeeded = (200..300).contains(&answer.status);
    if succeeded && attack.must_fail {
        report(format!(
            "it is answered {} although it names a thing of the other tenant; look the thing up \
             under the caller's tenant and answer 404",
            answer.status
        ));
    }
    if let Some(twin) = twin
        && let Some(difference) = difference(attack, answer, twin)
    {
        report(format!(
            "the answer is not that for a thing that does not exist, so that it tells whether it \
             does: {difference}; answer both alike"
        ));
    }
    findings
}

fn name(caller: &Caller) -> String {
    format!("the kind of principal `{}`", caller.name)
}

/// How the answer about the other's thing differs from the one about nothing.
fn difference(attack: &Attack, answer: &Answer, twin: &Answer) -> Option<String> {
    // Whose turn it is does not depend on the thing.
    if answer.status == 429 || twin.status == 429 {
        return None;
    }
    let made = |answer: &Answer| (200..300).contains(&answer.status);
    if attack.request.method != "GET" && made(answer) && made(twin) {
        return None;
    }
    let (one, other) = (plain(attack, answer), plain(attack, twin));
    let pairs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    match pairs {
        Some((one, other)) => Some(format!("`{one}` and `{other}`")),
        None if one != other => Some(format!("`{one}` and `{other}`")),
        None => None,
    }
}

/// An answer without what differs from one to the next.
fn plain(attack: &Attack, answer: &Answer) -> String {
    let request_id = answer.headers.iter().find_map(|line| line.strip_prefix("x-request-id: "));
    let kept = answer
        .headers
        .iter()
        .filter(|line| !EPHEMERAL.iter().any(|ephemeral| line.starts_with(ephemeral)));
    let mut text = format!("{}\n", answer.status);
    for line in kept {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&answer.body);
    if let Some(id) = request_id {
        text = text.replace(id, "<request>");
    }
    for (theirs, nothing) in &attack.differ {
        text = text.replace(theirs.as_str(), "<it>").replace(nothing.as_str(), "<it>");
    }
    text
}
