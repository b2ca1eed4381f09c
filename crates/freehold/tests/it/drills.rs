//! Drills: what happens to an installation when its nodes are restarted, its database dies or runs
//! full, its clocks go wrong. No acknowledged change may be missing or there twice, and nobody has
//! to help.
#![allow(clippy::print_stderr, reason = "the figures, for whoever runs this")]

mod balancer;
mod clock;
mod cut_off;
mod database_away;
mod database_dies;
mod disk_full;
mod installation;
mod load;
mod restarts;
mod revocation;
mod shutdown;

use std::time::{Duration, Instant};

/// Polls until it is so, with a deadline; answers how long that took.
async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < patience, "still waiting after {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}
