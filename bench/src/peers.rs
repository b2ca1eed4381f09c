//! Job queues that others wrote, on the same PostgreSQL in the same run: `bench/peers` runs them.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::place::Place;

/// In the order in which they are measured; what `bench/peers/run` calls them, and what they say.
pub(crate) const PEERS: [Peer; 3] = [
    Peer {
        asked_by: "graphile",
        enqueued: "graphile-worker 0.17.3: enqueued",
        ran: "graphile-worker 0.17.3: run",
    },
    Peer {
        asked_by: "bullmq",
        enqueued: "BullMQ 6.7.0 on Redis without fsync: enqueued",
        ran: "BullMQ 6.7.0 on Redis without fsync: run",
    },
    Peer { asked_by: "pgboss", enqueued: "pg-boss 10.4.2: enqueued", ran: "pg-boss 10.4.2: run" },
];

/// A peer and its rows.
pub(crate) struct Peer {
    asked_by: &'static str,
    pub(crate) enqueued: &'static str,
    pub(crate) ran: &'static str,
}

/// What a peer did.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Speed {
    jobs: u64,
    pub(crate) enqueue_per_second: f64,
    pub(crate) run_per_second: f64,
}

impl Peer {
    /// Measures it with so many jobs, in a database of its own on this PostgreSQL.
    pub(crate) async fn measure(&self, place: &Place, jobs: u64) -> Result<Speed> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/run");
        let output = Command::new(&script)
            .arg(self.asked_by)
            .env("DATABASE_URL", place.superuser_url())
            .env("JOBS", jobs.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(output.status.success(), "{} ended with {}", self.asked_by, output.status);
        let line = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let speed: Speed = serde_json::from_slice(line)
            .with_context(|| format!("{} said {}", self.asked_by, String::from_utf8_lossy(line)))?;
        ensure!(speed.jobs == jobs, "{} ran {} jobs", self.asked_by, speed.jobs);
        Ok(speed)
    }
}
