//! The process as its system sees it, under the names that every exporter uses.

/// Memory, time and files of this process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) open_files: u64,
}

impl Process {
    /// `None` where the system does not say.
    #[cfg(target_os = "linux")]
    pub(super) fn read() -> Option<Self> {
        use procfs::WithCurrentSystemInfo;
        let process = procfs::process::Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = u32::try_from(stat.utime + stat.stime).unwrap_or(u32::MAX);
        let per_second = u32::try_from(procfs::ticks_per_second()).unwrap_or(u32::MAX);
        Some(Self {
            resident_bytes: stat.rss_bytes().get(),
            cpu_seconds: f64::from(ticks) / f64::from(per_second),
            open_files: u64::try_from(process.fd_count().ok()?).unwrap_or(u64::MAX),
        })
    }

    /// `None`: only Linux says it without further ado.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn read() -> Option<Self> {
        None
    }
}
