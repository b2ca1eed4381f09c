//! Ctrl-C, SIGTERM, or the terminal that closed: whatever was made for the measurement goes first.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// Tells how often somebody has asked us to stop. Clones share the answer.
#[derive(Clone)]
pub(super) struct Interrupt(watch::Receiver<u32>);

impl Interrupt {
    /// From now on signals do not end the process; they are counted.
    pub(super) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                sender.send_modify(|count: &mut u32| *count = count.saturating_add(1));
            }
        });
        Ok(Self(receiver))
    }

    /// Between two steps that must not be cut in the middle.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if *self.0.borrow() > 0 { Err(Interrupted) } else { Ok(()) }
    }

    /// For what may be dropped at any point.
    pub(super) async fn or<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.or_after(0, work).await
    }

    /// For cleaning up: only who asks once more means that, too.
    pub(super) async fn or_insisted<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let asked = *self.0.borrow();
        self.or_after(asked, work).await
    }

    async fn or_after<T>(
        &self,
        so_often: u32,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let mut asked = self.0.clone();
        tokio::select! {
            done = Box::pin(work) => done,
            _ = asked.wait_for(|count| *count > so_often) => Err(Interrupted.into()),
        }
    }
}
