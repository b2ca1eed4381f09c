//! Processor time: who of those that share this machine has worked how much.

use std::time::Instant;

use super::scratch::Processes;

/// Seconds of processor time so far.
#[derive(Clone, Copy)]
pub(super) struct Used {
    at: Instant,
    /// This process: the load, and the receiver of webhooks.
    own: f64,
    freehold: Option<f64>,
    postgres: Option<f64>,
}

/// Shares of one core between two moments, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    pub(super) load: f64,
    pub(super) freehold: Option<f64>,
    pub(super) postgres: Option<f64>,
}

impl Used {
    /// Until now; `None` where the system does not say.
    pub(super) fn now(processes: Option<Processes>) -> Option<Self> {
        Some(Self {
            at: Instant::now(),
            own: of_process(std::process::id())?,
            freehold: processes.and_then(|known| of_process(known.freehold)),
            postgres: processes.and_then(|known| of_family(known.postgres?)),
        })
    }

    /// Since an earlier moment.
    pub(super) fn since(&self, before: &Self) -> Shares {
        let wall = (self.at - before.at).as_secs_f64().max(f64::EPSILON);
        let share = |now: f64, then: f64| (now - then).max(0.0) / wall * 100.0;
        let both = |now: Option<f64>, then: Option<f64>| Some(share(now?, then?));
        Shares {
            load: share(self.own, before.own),
            freehold: both(self.freehold, before.freehold),
            postgres: both(self.postgres, before.postgres),
        }
    }
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<procfs::process::Stat> {
    procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()
}

#[cfg(target_os = "linux")]
fn seconds(ticks: u64) -> Option<f64> {
    let per_second = u32::try_from(procfs::ticks_per_second()).ok()?;
    Some(f64::from(u32::try_from(ticks).ok()?) / f64::from(per_second))
}

/// What a process has used itself.
#[cfg(target_os = "linux")]
fn of_process(pid: u32) -> Option<f64> {
    let stat = stat(pid)?;
    seconds(stat.utime + stat.stime)
}

/// What a process and those it started have used; those that have ended are in its own count.
#[cfg(target_os = "linux")]
fn of_family(parent: u32) -> Option<f64> {
    let own = stat(parent)?;
    let ended = u64::try_from(own.cutime + own.cstime).unwrap_or(0);
    let living = procfs::process::all_processes().ok()?.filter_map(|process| {
        // One that has just ended cannot be read, and its parent has inherited its time.
        let stat = process.ok()?.stat().ok()?;
        (stat.ppid == own.pid).then_some(stat.utime + stat.stime)
    });
    seconds(own.utime + own.stime + ended + living.sum::<u64>())
}

/// Only Linux says it without further ado.
#[cfg(not(target_os = "linux"))]
fn of_process(_: u32) -> Option<f64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn of_family(_: u32) -> Option<f64> {
    None
}
