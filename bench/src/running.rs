//! Programs that do not outlive us.

use std::process::Child;

/// A program that was started: dropped, it is killed and waited for.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: it has ended, or it ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
