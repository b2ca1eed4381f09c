//! Turns at hashing, which takes a CPU for a while: fewer at once than there are cores, so that
//! requests get one, and whoever is known goes before strangers, so that no flood keeps them out.

use std::sync::Arc;
use std::time::Duration;

use freehold_kernel::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long anybody waits for their turn.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Strangers who wait or are served, for each place: more would wait in vain.
const STRANGERS_PER_PLACE: usize = 64;

/// Who asks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A known device, or somebody who is signed in. Each has few tries of their own.
    Known,
    /// Anybody else: there may be any number of them.
    Stranger,
}

/// The places, and who may stand in line for them.
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    /// As many as there are places: of all strangers only so many stand in line with those who are
    /// known, who therefore wait for hardly more than the turns that have begun.
    gate: Arc<Semaphore>,
    /// Strangers who wait for the gate or have passed it.
    strangers: Arc<Semaphore>,
}

/// A turn; it ends when this is dropped.
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
    _gate: Option<[OwnedSemaphorePermit; 2]>,
}

impl Turns {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            gate: Arc::new(Semaphore::new(places)),
            strangers: Arc::new(Semaphore::new(places * STRANGERS_PER_PLACE)),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy` after two seconds; at once for a stranger when too many wait.
    pub(crate) async fn take(&self, caller: Caller) -> Result<Turn> {
        let turn = async {
            let gate = match caller {
                Caller::Known => None,
                Caller::Stranger => {
                    let counted = self.strangers.clone().try_acquire_owned().map_err(|_| busy())?;
                    let passed =
                        self.gate.clone().acquire_owned().await.map_err(Error::internal)?;
                    Some([passed, counted])
                }
            };
            let place = self.places.clone().acquire_owned().await.map_err(Error::internal)?;
            Ok(Turn { _place: place, _gate: gate })
        };
        tokio::time::timeout(WAIT_MAX, turn).await.map_err(|_| busy())?
    }

    /// Refuses a stranger whom [`take`](Self::take) would refuse at once, before they cost more.
    ///
    /// # Errors
    /// 503 `identity.hashing_busy`.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.strangers.available_permits() == 0 { Err(busy()) } else { Ok(()) }
    }
}

fn busy() -> Error {
    Error::unavailable("identity.hashing_busy", "Many people are signing in; try again.", 2)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_is_known_goes_before_all_strangers_who_wait() {
        let turns = Turns::new(1);
        let first = turns.take(Caller::Stranger).await.unwrap();
        let mut strangers: Vec<_> =
            (0..10).map(|_| Box::pin(turns.take(Caller::Stranger))).collect();
        for waiting in &mut strangers {
            assert!(waiting.now_or_never().is_none(), "the one place is taken");
        }
        let mut known = pin!(turns.take(Caller::Known));
        assert!(known.as_mut().now_or_never().is_none());
        drop(first);
        for waiting in &mut strangers {
            assert!(waiting.now_or_never().is_none(), "it is not a stranger's turn");
        }
        let turn = known.now_or_never().expect("the turn of whoever is known").unwrap();
        drop(turn);
        assert!(
            strangers[0].as_mut().now_or_never().is_some(),
            "the first of the strangers is next"
        );
    }

    #[tokio::test]
    async fn strangers_beyond_what_can_be_served_are_refused_at_once_and_nobody_else() {
        let turns = Turns::new(1);
        let first = turns.take(Caller::Stranger).await.unwrap();
        let mut waiting: Vec<_> =
            (1..STRANGERS_PER_PLACE).map(|_| Box::pin(turns.take(Caller::Stranger))).collect();
        assert!(turns.check_room().is_ok());
        waiting.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        assert_eq!(turns.check_room().unwrap_err().code(), "identity.hashing_busy");
        let refused = turns.take(Caller::Stranger).now_or_never().expect("an answer at once");
        assert_eq!(refused.err().unwrap().retry_after_s(), Some(2));
        drop((first, waiting));
        assert!(turns.check_room().is_ok());
        let turn = turns.take(Caller::Known).now_or_never().expect("everybody went away");
        assert!(turn.is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_two_seconds() {
        let turns = Turns::new(2);
        let held = (turns.take(Caller::Known).await, turns.take(Caller::Stranger).await);
        let began = std::time::Instant::now();
        let late = tokio::join!(turns.take(Caller::Known), turns.take(Caller::Stranger));
        assert!(began.elapsed() >= WAIT_MAX);
        for refused in [late.0, late.1] {
            assert_eq!(refused.err().unwrap().code(), "identity.hashing_busy");
        }
        drop(held);
        assert!(turns.take(Caller::Stranger).await.is_ok());
    }
}
