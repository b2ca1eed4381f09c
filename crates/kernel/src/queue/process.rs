//! Which process of which machine this is, so that a later one can tell whether it died.
//!
//! Read from `/proc`. Where there is none, nobody can tell, and leases run out by themselves.

use std::fs;
use std::path::Path;

/// For people: the name of the machine and the number of the process.
pub(super) fn name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "node" } else { host.trim() };
    format!("{host}:{}", std::process::id())
}

/// This process: where its number counts, the number, and when it began. Empty where that cannot be
/// known.
pub(super) fn identity() -> String {
    let own = std::process::id();
    let known = place().and_then(|place| Some(format!("{place} {own} {}", began(own)?)));
    known.unwrap_or_default()
}

/// Whether a process that was here is here no more.
pub(super) fn is_dead(identity: &str) -> bool {
    let mut words = identity.rsplitn(3, ' ');
    let (Some(then), Some(number), Some(there)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Ok(number) = number.parse::<u32>() else { return false };
    place().is_some_and(|place| place == there) && began(number).is_none_or(|began| began != then)
}

/// Where process numbers mean the same: one start of one machine, one namespace of processes.
fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process began, in ticks since the machine did: proc(5), field 22 of stat, which follow the
/// name in parentheses.
fn began(process: u32) -> Option<String> {
    let stat =
        fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    // A process that has died and whose parent has not looked yet works no more.
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.nth(18).map(ToOwned::to_owned) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_to_be_dead_once_it_is() {
        assert!(!is_dead(&identity()), "this one lives");
        assert!(!is_dead(""), "nobody knows");
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let place = place().unwrap();
        let its = format!("{place} {} {}", child.id(), began(child.id()).unwrap());
        assert!(!is_dead(&its));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_dead(&its));
        assert!(!is_dead(&its.replacen(&place, "another machine's", 1)), "that is not ours to say");
        let reused = format!("{place} {} 1", std::process::id());
        assert!(is_dead(&reused), "its number is another's now");
    }
}
