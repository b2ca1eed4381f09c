//! What the jobs of these rows do: nothing, or wait a little.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freehold_kernel::{Job, JobCx, Lane, Result, RunJob};
use serde::{Deserialize, Serialize};

/// How many have run.
pub(super) static RAN: AtomicU64 = AtomicU64::new(0);
/// How long a job waits that stands for real work.
const PAUSE: Duration = Duration::from_millis(5);

/// Does nothing, and leaves nothing behind, as with the peers.
#[derive(Serialize, Deserialize)]
pub(super) struct Nothing {
    pub(super) number: u64,
}

impl Job for Nothing {
    const KIND: &'static str = "queue.nothing";
    const LANE: Lane = Lane::Standard;
    const KEPT: bool = false;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Nothing {
    async fn run(self, _: JobCx) -> Result<()> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The same, kept for a day once it is done, as jobs are unless their kind says otherwise.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) number: u64,
}

impl Job for Kept {
    const KIND: &'static str = "queue.kept";
    const LANE: Lane = Lane::Standard;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Kept {
    async fn run(self, _: JobCx) -> Result<()> {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Waits 5 ms, as for something outside. Those with a number say how long they took to begin.
#[derive(Serialize, Deserialize)]
pub(super) struct Pause {
    pub(super) number: Option<u64>,
}

type Asked = Mutex<HashMap<u64, Instant>>;

/// When each numbered one was asked for, and how long those took to begin that have, in milliseconds.
static ASKED: LazyLock<Asked> = LazyLock::new(Mutex::default);
static WAITED: Mutex<Vec<f64>> = Mutex::new(Vec::new());

impl Pause {
    /// One that will say how long it took to begin, from now on.
    pub(super) fn timed() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        ASKED.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Instant::now());
        Self { number: Some(number) }
    }

    fn has_begun(&self) {
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = self.number.and_then(|number| asked.remove(&number)) {
            let waited = asked.elapsed().as_secs_f64() * 1000.0;
            WAITED.lock().unwrap_or_else(PoisonError::into_inner).push(waited);
        }
    }

    /// How long those took to begin that have since this was asked last, and how many have not.
    pub(super) fn waited() -> (Vec<f64>, usize) {
        let waited = std::mem::take(&mut *WAITED.lock().unwrap_or_else(PoisonError::into_inner));
        (waited, ASKED.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}

impl Job for Pause {
    const KIND: &'static str = "queue.pause";
    const LANE: Lane = Lane::Standard;
    const KEPT: bool = false;

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunJob for Pause {
    async fn run(self, _: JobCx) -> Result<()> {
        self.has_begun();
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
