//! This node among those that work on jobs: its lease, and the shards of keys that are its to hand
//! out.
//!
//! A node begins jobs only while its lease runs. When it has run out, and another node has noticed, the
//! node is gone for good: what it held is taken over, and should it live, it goes on under another id,
//! so that nothing is held twice. While the database is away for all, nobody notices, and all go on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::in_flight::InFlight;
use super::job::interval;
use super::{counts, process};
use crate::app::App;
use crate::crypto::sha256;
use crate::error::Result;
use crate::tx::SystemTx;

/// How long what a node took is its own without a sign of life.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often it gives one.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// A node stops beginning jobs this long before others may take them.
const MARGIN: Duration = Duration::from_secs(2);
const SHARDS: usize = 64;

/// This node's place among the others.
pub(crate) struct Node(Mutex<Place>);

struct Place {
    id: Uuid,
    /// Until when this node may begin jobs.
    until: Option<Instant>,
    /// Since when each shard is this node's.
    shards: [Option<Instant>; SHARDS],
    /// Shards that are to be another's as soon as none of their jobs is here.
    leaving: [bool; SHARDS],
    /// When the lease could last not be renewed.
    trouble: Option<Instant>,
}

impl Default for Node {
    fn default() -> Self {
        Self(Mutex::new(Place::new()))
    }
}

impl Place {
    fn new() -> Self {
        Self {
            id: Uuid::now_v7(),
            until: None,
            shards: [None; SHARDS],
            leaving: [false; SHARDS],
            trouble: None,
        }
    }

    fn has_lease(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }
}

impl Node {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As whom this node takes jobs now; `None` while it has no lease.
    pub(super) fn id(&self) -> Option<Uuid> {
        let place = self.place();
        place.has_lease().then_some(place.id)
    }

    /// As whom this node may say that others are gone: not when it was in trouble itself a moment ago,
    /// for then they may have been, too, and be about to renew their leases.
    pub(super) fn id_of_judge(&self) -> Option<Uuid> {
        let place = self.place();
        let calm = place.trouble.is_none_or(|at| at.elapsed() > LEASE);
        (calm && place.has_lease()).then_some(place.id)
    }

    /// Whether jobs of this queue are this node's to take.
    pub(super) fn takes(&self, queue: &str) -> bool {
        let (place, shard) = (self.place(), shard_of(queue));
        place.has_lease() && place.shards[shard].is_some() && !place.leaving[shard]
    }

    /// Since when this node, as the one that took a job, has been the one to say how many of its
    /// queue run; `None` when it is no more. To be asked once the job is in flight: from then on
    /// [`leave`] waits for it.
    pub(super) fn rules(&self, queue: &str, id: Uuid) -> Option<Instant> {
        let place = self.place();
        place.shards[shard_of(queue)].filter(|_| place.has_lease() && place.id == id)
    }
}

/// Where the jobs of a queue belong. The same in every release.
fn shard_of(queue: &str) -> usize {
    usize::from(sha256(&[queue.as_bytes()])[0]) % SHARDS
}

/// Which of these nodes a shard should go to: another one more or less moves as few as possible.
fn heir(shard: usize, nodes: &[Uuid]) -> Option<Uuid> {
    let weight = |node: &Uuid| sha256(&[node.as_bytes(), &shard.to_be_bytes()]);
    nodes.iter().copied().max_by_key(weight)
}

/// Renews the lease and takes and leaves shards, until the process stops.
pub(super) async fn live(app: Arc<App>) {
    if let Err(error) = bury_the_dead(&app).await {
        tracing::warn!(%error, "whether a process before this one died could not be read");
    }
    loop {
        if let Err(error) = renew(&app).await {
            tracing::warn!(%error, "this node's lease could not be renewed");
            app.queue().node().place().trouble = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            () = app.wakers().shards.notified() => {}
        }
    }
}

/// Ends the leases of processes of this machine that are no more: whoever is started again after a
/// crash need not wait for them.
async fn bury_the_dead(app: &Arc<App>) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let nodes = sqlx::query!("select id, process from core.nodes where gone_at is null")
        .fetch_all(tx.db())
        .await?;
    let dead = nodes.into_iter().filter(|node| process::is_dead(&node.process));
    let dead: Vec<Uuid> = dead.map(|node| node.id).collect();
    if dead.is_empty() {
        return Ok(());
    }
    tracing::info!(nodes = dead.len(), "what a process that died had begun is taken over");
    sqlx::query!(
        "update core.nodes set gone_at = statement_timestamp() where id = any($1)",
        &dead,
    )
    .execute(tx.db())
    .await?;
    tx.commit().await
}

/// What a sign of life finds.
struct Seen {
    renewed: bool,
    others: Vec<Uuid>,
    /// Shards that are this node's.
    held: Vec<i16>,
    /// Shards that are nobody's, or whose node has gone.
    free: Vec<i16>,
}

/// One sign of life. Counts of what ended go with it.
async fn renew(app: &Arc<App>) -> Result<()> {
    let counts = app.queue().counts().take();
    let renewed = renew_with(app, &counts).await;
    if renewed.is_err() {
        app.queue().counts().put_back(counts);
    }
    renewed
}

async fn renew_with(app: &Arc<App>, ended: &counts::Taken) -> Result<()> {
    let (node, began) = (app.queue().node(), Instant::now());
    let mut id = node.place().id;
    let mut tx = SystemTx::begin(app.origin()).await?;
    let mut seen = look(&mut tx, id).await?;
    if !seen.renewed {
        if app.is_stopping() {
            return Ok(());
        }
        id = join(&mut tx).await?;
        seen.held.clear();
    }
    let mut heirs = seen.others;
    if !app.is_stopping() {
        heirs.push(id);
    }
    let (keep, unwanted): (Vec<i16>, Vec<i16>) =
        seen.held.iter().partition(|shard| heir(index(**shard), &heirs) == Some(id));
    seen.free.retain(|shard| heir(index(*shard), &heirs) == Some(id));
    let left = leave(app, &mut tx, id, &unwanted).await?;
    let taken = take(&mut tx, id, &seen.free).await?;
    counts::write(&mut tx, ended).await?;
    tx.commit().await?;
    let held = keep.iter().chain(unwanted.iter().filter(|shard| !left.contains(shard)));
    node.know(id, began, held.chain(&taken).copied(), &unwanted);
    if !taken.is_empty() || !left.is_empty() {
        tracing::debug!(
            taken = taken.len(),
            left = left.len(),
            nodes = heirs.len(),
            "shards moved"
        );
        app.wakers().tell();
        app.queue().sweep(app);
    }
    Ok(())
}

async fn look(tx: &mut SystemTx, id: Uuid) -> Result<Seen> {
    let seen = sqlx::query_as!(
        Seen,
        r#"with me as (
           update core.nodes set lease_until = clock_timestamp() + $2
           where id = $1 and gone_at is null returning id
         )
         select exists (select from me) as "renewed!",
           array(select id from core.nodes where gone_at is null
             and lease_until > statement_timestamp() and id <> $1) as "others!",
           array(select s.shard from core.job_shards s where s.node = $1 order by 1) as "held!",
           array(select s.shard from core.job_shards s
             left join core.nodes n on n.id = s.node and n.gone_at is null
             where n.id is null order by 1) as "free!""#,
        id,
        interval(LEASE),
    )
    .fetch_one(tx.db())
    .await?;
    Ok(seen)
}

impl Node {
    /// What was so when the lease was renewed, in a transaction that began at `began`.
    fn know(&self, id: Uuid, began: Instant, shards: impl Iterator<Item = i16>, unwanted: &[i16]) {
        let mut place = self.place();
        if place.id != id {
            *place = Place { id, ..Place::new() };
        }
        place.until = Some(began + LEASE - MARGIN);
        let mut held = [None; SHARDS];
        for shard in shards {
            let at = index(shard);
            held[at] = place.shards[at].or_else(|| Some(Instant::now()));
        }
        // What was to be left and is wanted again stays.
        place.leaving = [false; SHARDS];
        for shard in unwanted {
            place.leaving[index(*shard)] = held[index(*shard)].is_some();
        }
        place.shards = held;
    }
}

fn index(shard: i16) -> usize {
    usize::try_from(shard).unwrap_or_default().min(SHARDS - 1)
}

/// This node as a new one.
async fn join(tx: &mut SystemTx) -> Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into core.nodes (id, name, release, process, lease_until)
         values ($1, $2, $3, $4, clock_timestamp() + $5)",
        id,
        process::name(),
        env!("CARGO_PKG_VERSION"),
        process::identity(),
        interval(LEASE),
    )
    .execute(tx.db())
    .await?;
    Ok(id)
}

/// Gives up those shards of which no job is here. Of the others no more jobs are taken.
async fn leave(app: &Arc<App>, tx: &mut SystemTx, id: Uuid, unwanted: &[i16]) -> Result<Vec<i16>> {
    let left = app.queue().node().release(unwanted, app.queue().in_flight());
    if !left.is_empty() {
        sqlx::query!(
            "update core.job_shards set node = null where node = $1 and shard = any($2)",
            id,
            &left,
        )
        .execute(tx.db())
        .await?;
    }
    Ok(left)
}

impl Node {
    /// Under one lock, so that a job is either in flight before its shard is looked at or finds, when
    /// its turn comes, that the shard is gone.
    fn release(&self, shards: &[i16], in_flight: &InFlight) -> Vec<i16> {
        let mut place = self.place();
        let mut left = Vec::new();
        for shard in shards {
            let at = index(*shard);
            place.leaving[at] = in_flight.has_any(|queue| shard_of(queue) == at);
            if !place.leaving[at] {
                place.shards[at] = None;
                left.push(*shard);
            }
        }
        left
    }
}

/// Takes shards that are nobody's, or whose node is gone.
async fn take(tx: &mut SystemTx, id: Uuid, wanted: &[i16]) -> Result<Vec<i16>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let taken = sqlx::query_scalar!(
        "update core.job_shards s set node = $1
         where s.shard = any($2) and not exists (
           select from core.nodes n where n.id = s.node and n.gone_at is null)
         returning s.shard",
        id,
        wanted,
    )
    .fetch_all(tx.db())
    .await?;
    Ok(taken)
}

/// Leaves, when this node stops: others need not wait for its lease.
pub(super) async fn go(app: &Arc<App>, tx: &mut SystemTx) -> Result<()> {
    let id = app.queue().node().place().id;
    // Gone, not deleted: a claim that is under way now commits jobs that somebody has to take back.
    sqlx::query!(
        "with gone as (
           update core.nodes set gone_at = clock_timestamp() where id = $1 returning id
         )
         update core.job_shards s set node = null from gone where s.node = gone.id",
        id,
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

/// Forgets nodes that went long ago and hold nothing. A schedule's tick.
pub(crate) async fn forget_gone(tx: &mut SystemTx) -> Result<()> {
    sqlx::query!(
        "delete from core.nodes n where gone_at < statement_timestamp() - interval '1 day'
           and not exists (select from core.jobs j where j.state = 'active' and j.node = n.id)"
    )
    .execute(tx.db())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_puts_a_queue_into_the_same_shard() {
        assert_eq!(shard_of("webhooks.deliver/whk_1"), 36);
        assert_eq!(shard_of("webhooks.deliver/whk_2"), 43);
    }

    #[test]
    fn a_node_that_comes_takes_its_share_and_moves_nothing_else() {
        let nodes: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
        let (three, four) = (&nodes[..3], &nodes[..]);
        let moved: Vec<usize> = (0..SHARDS).filter(|s| heir(*s, three) != heir(*s, four)).collect();
        assert!((4..=32).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|shard| heir(*shard, four) == Some(nodes[3])));
    }
}
