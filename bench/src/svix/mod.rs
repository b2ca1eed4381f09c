//! Freehold's webhooks beside svix-server, in the same run: same receiver, same PostgreSQL, same
//! load. svix-server's binary is given by its path; see the README for what is the same and what
//! is not.

mod redis;
mod rounds;
mod served;
mod server;
mod settle;
mod side;
mod started;
mod table;

use anyhow::Result;

use crate::Options;
use crate::place::Place;
use crate::receiver::Receiver;
use crate::report::{Report, progress};
use crate::start::resident;

use redis::Redis;
use rounds::Rounds;
use served::Served;
use server::Svix;

pub(crate) use served::serve;
pub(crate) use server::Binary;
pub(crate) use table::Table;

/// What `--only` calls the rows.
pub(crate) const ROWS: [&str; 3] = ["svix-events", "svix-latency", "svix-rate"];

/// Measures those of the rows that were asked for.
pub(crate) async fn measure(
    options: &Options,
    binary: &Binary,
    place: &Place,
    report: &mut Report,
) -> Result<()> {
    let receiver = Receiver::start()?;
    progress(&format!("beside svix-server {}, {}", binary.version, binary.path.display()));
    let redis = Redis::start(place).await?;
    let svix = Svix::start(binary, place, &redis).await?;
    let theirs = svix.or_its_log(svix.sign_up(&receiver, options.tenants).await)?;
    let (served, ours) = Served::start(place, &receiver, options.tenants).await?;
    let mut rounds = Rounds::new(options, place, &receiver, [ours, theirs], redis.pid());
    let outcome = tokio::select! {
        outcome = rounds.run() => outcome,
        failure = svix.dies() => Err(failure),
        failure = redis.dies() => Err(failure),
    };
    svix.or_its_log(outcome)?;
    let mut table = rounds.table(&binary.version);
    table.memory([resident(served.pid())?, resident(svix.pid())?], resident(redis.pid())?);
    report.set_beside(table);
    Ok(())
}
