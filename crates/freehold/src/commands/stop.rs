//! Ctrl-C and SIGTERM: the first asks to stop, the second not to wait any longer.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether somebody wants us to stop. Clones share the answer.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<u8>);

impl Stop {
    /// From now on signals do not end the process; they are counted.
    pub(super) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                sender.send_modify(|count: &mut u8| *count = count.saturating_add(1));
            }
        });
        Ok(Self(receiver))
    }

    /// Resolves once somebody has asked.
    pub(super) async fn asked(mut self) {
        let _ = self.0.wait_for(|count| *count >= 1).await;
    }

    /// Resolves once somebody has asked again.
    pub(super) async fn insisted(mut self) {
        let _ = self.0.wait_for(|count| *count >= 2).await;
    }

    /// Whether somebody has asked.
    pub(super) fn is_asked(&self) -> bool {
        *self.0.borrow() >= 1
    }
}
