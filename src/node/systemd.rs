//! systemd: the sockets that it opened for the daemon, and what it is told in return.
//!
//! Specification: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3), systemd.socket(5).

mod notify;
mod sockets;

pub use notify::Notify;
pub use sockets::Sockets;
