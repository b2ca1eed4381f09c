//! The machine, for whoever quotes a figure.

use serde_json::{Value, json};

/// What can be told of it. With `--url` it is the machine of the load.
pub(super) fn describe() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "cores": cores, "processor": field("/proc/cpuinfo", "model name"),
        "memoryMb": memory(), "system": system(),
    })
}

/// The first value of a name in a file of `name: value` lines, where there is one.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> Option<u64> {
    let kilobytes = field("/proc/meminfo", "MemTotal")?;
    Some(kilobytes.split(' ').next()?.parse::<u64>().ok()? / 1024)
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {} {}", std::env::consts::OS, release.trim(), std::env::consts::ARCH)
}
