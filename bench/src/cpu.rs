//! Processor time of processes, from /proc: who of all that share the cores has worked how much.

use std::fs::{read_dir, read_to_string};

use anyhow::{Context, Result};

/// What one process is and has used.
struct Process {
    parent: u32,
    name: String,
    /// Seconds in user and kernel mode.
    own: f64,
    /// Those of its children that have ended.
    ended_children: f64,
}

/// Seconds of processor time so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Used {
    /// This process: the application and whatever else runs in it.
    pub(crate) own: f64,
    /// What this process started and waited for: wrk, pgbench.
    pub(crate) load: f64,
    pub(crate) postgres: f64,
    pub(crate) receiver: f64,
}

impl Used {
    /// Until now.
    pub(crate) fn now(postmaster: u32, receiver: u32) -> Result<Self> {
        let this = process(std::process::id())?;
        Ok(Self {
            own: this.own,
            load: this.ended_children,
            postgres: of_postgres(postmaster)?,
            receiver: process(receiver)?.own,
        })
    }

    /// How it splits up since an earlier moment, for each of so many things done.
    pub(crate) fn each_since(&self, before: &Self, done: i64) -> String {
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let each = |now: f64, before: f64| (now - before) * 1e6 / done.max(1) as f64;
        format!(
            "PostgreSQL {:.0} µs, this process {:.0} µs, receiver {:.0} µs, load {:.0} µs",
            each(self.postgres, before.postgres),
            each(self.own, before.own),
            each(self.receiver, before.receiver),
            each(self.load, before.load),
        )
    }
}

/// Seconds that a process has used itself.
pub(crate) fn of_process(pid: u32) -> Result<f64> {
    Ok(process(pid)?.own)
}

/// Seconds that PostgreSQL has used: the postmaster, its children, and those that have ended.
pub(crate) fn of_postgres(postmaster: u32) -> Result<f64> {
    let parent = process(postmaster)?;
    let living: f64 = children(postmaster)?.iter().map(|(_, child)| child.own).sum();
    Ok(parent.own + parent.ended_children + living)
}

/// The process of this name that another one has started.
pub(crate) fn child_called(name: &str, of: u32) -> Result<Option<u32>> {
    let mut children = children(of)?.into_iter();
    Ok(children.find(|(_, child)| child.name == name).map(|(pid, _)| pid))
}

fn children(of: u32) -> Result<Vec<(u32, Process)>> {
    let mut children = Vec::new();
    for entry in read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has just ended cannot be read, and its parent has inherited its time.
        if let Ok(process) = process(pid)
            && process.parent == of
        {
            children.push((pid, process));
        }
    }
    Ok(children)
}

fn process(pid: u32) -> Result<Process> {
    parse(&read_to_string(format!("/proc/{pid}/stat"))?).context("/proc/<pid>/stat is strange")
}

/// `pid (name) state parent …`, see proc(5); the name may have blanks and parentheses in it.
fn parse(stat: &str) -> Option<Process> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    #[allow(clippy::cast_precision_loss, reason = "ticks are a hundredth of a second")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / per_second);
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        name,
        own: seconds(11)? + seconds(12)?,
        ended_children: seconds(13)? + seconds(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_understood_whatever_the_process_calls_itself() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4 0 0 0 0 100 50 20 30 20 0 9 0 5 1 2";
        let process = parse(stat).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((process.parent, process.name.as_str()), (3, "a) b"));
        assert!((process.own - 150.0 / ticks).abs() < 1e-9);
        assert!((process.ended_children - 50.0 / ticks).abs() < 1e-9);
    }

    #[test]
    fn a_child_is_found_by_its_name_and_no_other_is() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = ["sleep", "postgres"].map(|name| child_called(name, std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.map(Result::unwrap), [Some(child.id()), None]);
    }
}
