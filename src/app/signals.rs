//! What the operator tells the daemon by signals.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::AppError;

/// Handlers, in place from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hang_up: Stream,
}

/// What one means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGINT or SIGTERM.
    Stop,
}

impl Signals {
    /// Puts the handlers in place.
    ///
    /// # Errors
    /// [`AppError::Signals`] where the kernel refuses.
    pub fn new() -> Result<Self, AppError> {
        let on = |kind| signal(kind).map_err(AppError::Signals);
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    /// Waits for the next signal to stop.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
