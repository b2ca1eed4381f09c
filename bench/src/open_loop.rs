//! Posts at a rate, on time, whatever became of those before: an open loop, so that a slow answer
//! delays no later post.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::Poster;
use crate::receiver::monotonic;

/// What to post where, as whom.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// One post; times as [`monotonic`] tells them.
pub(crate) struct Posted {
    id: String,
    pub(crate) sent: i64,
    answered: i64,
}

/// Milliseconds, one for each post.
pub(crate) struct Times {
    /// Until the receiver had the request.
    pub(crate) received: Vec<f64>,
    /// Until the post was answered.
    pub(crate) accepted: Vec<f64>,
}

/// Posts so many a second, the letters in turn.
pub(crate) async fn post(
    letters: Vec<Letter>,
    per_second: u32,
    seconds: u64,
) -> Result<Vec<Posted>> {
    let count = per_second * u32::try_from(seconds)?;
    // A thread of its own: nobody else's work must delay the posts or their clocks.
    let posting = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(post_all(&letters, per_second, count))
    });
    posting.await?
}

async fn post_all(letters: &[Letter], per_second: u32, count: u32) -> Result<Vec<Posted>> {
    let poster = Poster::new();
    let began = Instant::now();
    let mut posts = JoinSet::new();
    for (number, letter) in (0..count).zip(letters.iter().cycle()) {
        sleep_until(began + Duration::from_secs(1) * number / per_second).await;
        posts.spawn(post_one(poster.clone(), letter.clone()));
    }
    posts.join_all().await.into_iter().collect()
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

async fn post_one(poster: Poster, letter: Letter) -> Result<Posted> {
    let sent = monotonic();
    let (status, text) = poster.post(letter.uri, letter.headers, letter.body).await?;
    let answered = monotonic();
    ensure!(status.is_success(), "an event was answered {status}");
    let accepted: Accepted = serde_json::from_slice(&text)?;
    Ok(Posted { id: accepted.id, sent, answered })
}

/// How long each post took.
pub(crate) fn pair(posted: &[Posted], arrivals: &HashMap<String, i64>) -> Result<Times> {
    #[allow(clippy::cast_precision_loss, reason = "far less than 2^52 nanoseconds")]
    let milliseconds = |from: i64, to: i64| (to - from) as f64 / 1e6;
    let mut times = Times { received: Vec::new(), accepted: Vec::new() };
    for post in posted {
        let arrived = *arrivals.get(&post.id).context("an event never arrived")?;
        times.received.push(milliseconds(post.sent, arrived));
        times.accepted.push(milliseconds(post.sent, post.answered));
    }
    Ok(times)
}
