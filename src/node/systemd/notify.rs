//! What the service manager is told.
//!
//! Without a service manager nothing is sent, and nobody has to ask first.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// systemd cuts a status at one line; longer ones help nobody who reads `systemctl status`.
const MAX_STATUS: usize = 200;

/// The line to the service manager.
#[derive(Debug, Clone, Copy)]
pub struct Notify {
    watchdog: Option<Duration>,
}

impl Notify {
    /// Looks into the environment for a service manager that wants to hear from us.
    #[must_use]
    pub fn from_environment() -> Self {
        // Half of what it waits for, as sd_watchdog_enabled(3) recommends.
        Self { watchdog: sd_notify::watchdog_enabled().map(|patience| patience / 2) }
    }

    /// Every socket is bound and served; also the end of a reload.
    pub fn ready(&self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        send(&[NotifyState::Status(&line(status))]);
    }

    /// The configuration is being read again; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        let state = NotifyState::monotonic_usec_now().map(|now| vec![NotifyState::Reloading, now]);
        send(&state.unwrap_or_else(|_| vec![NotifyState::Reloading]));
    }

    /// The daemon is on its way out.
    pub fn stopping(&self, status: &str) {
        send(&[NotifyState::Stopping, NotifyState::Status(&line(status))]);
    }

    /// How often [`Self::alive`] has to be called; `None` where nobody watches.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Keeps the watchdog quiet. To be called from where a hang of the daemon would be felt.
    pub fn alive(&self) {
        send(&[NotifyState::Watchdog]);
    }
}

/// A message that gets lost is not worth a failure, but its reason is worth knowing: systemd
/// ends a service that it hears nothing from.
fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        // In a sandbox without the socket's folder, or under a manager that is gone.
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!("systemd cannot be told {state:?}: {error}");
        }
    }
}

/// Text of others on one line: what follows a line break would be an assignment of its own.
fn line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(MAX_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use super::{MAX_STATUS, line};

    #[test]
    fn a_status_is_one_line_whatever_is_in_it() {
        assert_eq!(line("pulling a\nMAINPID=1\r\0b"), "pulling a MAINPID=1  b");
        assert_eq!(line(&"é".repeat(1000)).chars().count(), MAX_STATUS);
    }
}
