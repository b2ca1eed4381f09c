//! Connections, handed from one transaction to the next without a trip to the server.
//!
//! sqlx's pool asks PostgreSQL whether a connection still works each time it is given back, and a
//! reading transaction ends with a ROLLBACK that nobody waits for: two messages that PostgreSQL wakes
//! up for. Under load the next transaction is there already. So a connection whose transaction ended
//! well rests here for a moment, with its ROLLBACK written but not sent, and the next BEGIN takes it
//! along. Whatever rests for longer, or did not end well, goes back the long way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{Database, Postgres, SqlStr};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

type Transactions = <Postgres as Database>::TransactionManager;

/// How long a connection rests before it goes back, and how often that is looked at: PostgreSQL sees
/// an idle transaction for about twice as long at the most.
const REST: Duration = Duration::from_millis(5);
/// After so long a connection goes back to sqlx's pool once, which closes those that are too old.
const HANDED_ON_MAX: Duration = Duration::from_secs(60);

/// Connections under one login.
pub(super) struct Pool {
    connections: PgPool,
    size: u32,
    wait_max: Duration,
    /// One for each connection there may be: whoever has one finds a connection at rest, or one in
    /// sqlx's pool, or room to make one.
    places: Arc<Semaphore>,
    resting: Mutex<Vec<Resting>>,
    rested: Arc<Notify>,
    waits: AtomicU64,
}

struct Resting {
    connection: PoolConnection<Postgres>,
    since: Instant,
    taken: Instant,
}

/// A connection in a transaction. Dropped, the transaction is rolled back.
pub(super) struct Lease {
    // Empty only once it has been handed on.
    connection: Option<PoolConnection<Postgres>>,
    /// When it was taken from sqlx's pool.
    taken: Instant,
    /// Whether PostgreSQL may have begun a transaction that sqlx does not know of.
    beginning: bool,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Over sqlx's pool, of which `size` connections are for transactions.
    pub(super) fn new(connections: PgPool, size: u32, wait_max: Duration) -> Arc<Self> {
        let pool = Arc::new(Self {
            connections,
            size,
            wait_max,
            places: Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(usize::MAX))),
            resting: Mutex::default(),
            rested: Arc::default(),
            waits: AtomicU64::new(0),
        });
        tokio::spawn(give_back(Arc::downgrade(&pool), pool.rested.clone()));
        pool
    }

    /// The pool itself, for what needs no transaction.
    pub(super) fn connections(&self) -> &PgPool {
        &self.connections
    }

    /// How many transactions may be open at once.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// How many connections nobody uses.
    pub(super) fn idle(&self) -> usize {
        self.connections.num_idle() + self.resting().len()
    }

    /// How often a transaction had to wait for a connection.
    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Begins a transaction with this statement.
    pub(super) async fn begin(self: &Arc<Self>, opening: &SqlStr) -> Result<Lease, sqlx::Error> {
        let mut lease = self.lease().await?;
        // After a restart of PostgreSQL every idle connection is dead and says so only when it is
        // used. A dead one leaves the pool, so that trying as many as there are ends with a new one.
        let mut dead = self.connections.size();
        loop {
            // Whoever stops waiting here leaves a connection whose BEGIN was sent: see `drop`.
            lease.beginning = true;
            let begun = Transactions::begin(lease.connection(), Some(opening.clone())).await;
            lease.beginning = false;
            match begun {
                Err(error) if dead > 0 && has_lost_connection(&error) => dead -= 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(lease),
            }
            lease.replace().await?;
        }
    }

    async fn lease(self: &Arc<Self>) -> Result<Lease, sqlx::Error> {
        if self.places.available_permits() == 0 {
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
        let place = timeout(self.wait_max, self.places.clone().acquire_owned());
        let place = place.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let (connection, taken) = self.connection().await?;
        let (connection, pool) = (Some(connection), self.clone());
        Ok(Lease { connection, taken, beginning: false, pool, _place: place })
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that transactions get theirs from")]
    async fn connection(&self) -> Result<(PoolConnection<Postgres>, Instant), sqlx::Error> {
        // The one that rested last: the others get the rest they need to go back.
        let resting = self.resting().pop();
        match resting {
            Some(Resting { connection, taken, .. }) => Ok((connection, taken)),
            None => Ok((self.connections.acquire().await?, Instant::now())),
        }
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, Vec<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more transactions; ends when all connections are closed.
    pub(super) async fn close(&self) {
        self.places.close();
        drop(std::mem::take(&mut *self.resting()));
        self.connections.close().await;
    }
}

impl Lease {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut PoolConnection<Postgres> {
        self.connection.as_mut().unwrap_or_else(|| unreachable!("a lease is used after its end"))
    }

    /// Commits.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        Transactions::commit(self.connection()).await?;
        self.hand_on();
        Ok(())
    }

    /// Rolls back, and waits until what the transaction held is free.
    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        Transactions::rollback(self.connection()).await?;
        self.hand_on();
        Ok(())
    }

    /// Ends a transaction that has read, without waiting for it.
    pub(super) fn end(mut self) {
        Transactions::start_rollback(self.connection());
        self.hand_on();
    }

    fn hand_on(mut self) {
        let now = Instant::now();
        let goes_back =
            now.duration_since(self.taken) > HANDED_ON_MAX || self.pool.places.is_closed();
        let Some(connection) = self.connection.take().filter(|_| !goes_back) else { return };
        let resting = Resting { connection, since: now, taken: self.taken };
        self.pool.resting().push(resting);
        self.pool.rested.notify_one();
    }

    /// A connection instead of one that has died.
    async fn replace(&mut self) -> Result<(), sqlx::Error> {
        if let Some(mut dead) = self.connection.take() {
            dead.close_on_drop();
        }
        let (connection, taken) = self.pool.connection().await?;
        (self.connection, self.taken) = (Some(connection), taken);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        Transactions::start_rollback(connection);
        if self.beginning {
            // sqlx counts a transaction once PostgreSQL has said that it began, and rolls back what
            // it counted. This one would go on into the next one's BEGIN, read only if it was.
            connection.close_on_drop();
        }
    }
}

/// Gives back what rests for too long; sqlx's pool then sends what was not sent.
async fn give_back(pool: Weak<Pool>, rested: Arc<Notify>) {
    loop {
        rested.notified().await;
        loop {
            tokio::time::sleep(REST).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut resting = pool.resting();
            // Pushed and popped at the end: those that rest the longest are at the beginning.
            let tired = resting.iter().take_while(|one| one.since.elapsed() >= REST).count();
            let tired: Vec<Resting> = resting.drain(..tired).collect();
            let all = resting.is_empty();
            drop(resting);
            drop(tired);
            if all {
                break;
            }
        }
    }
}

/// Whether the connection had ended before the statement got through: cut off, or told to go by an
/// administrator (57P01), a crash (57P02) or a time limit (57P05).
fn has_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(refusal) => {
            matches!(refusal.code().as_deref(), Some("57P01" | "57P02" | "57P05"))
        }
        _ => false,
    }
}
