//! The node around the daemon: the service manager that starts it, the processes that call
//! it, and what connects the node's container runtime to it.
//!
//! [`systemd`] takes over sockets and reports back; [`peer`] says who is at the other end of
//! a socket; [`setup`] connects containerd, kubelet, docker and podman to lighterman, and takes
//! it back; [`doctor`] says what is wrong with all that.
//!
//! Nothing here pulls an image, and nothing here prints. What is decided is decided by pure
//! functions over facts that were read before.

pub mod doctor;
pub mod peer;
pub mod setup;
pub mod systemd;

mod error;

pub use error::NodeError;

/// Where the mirror listens: below 1024, so that only root can take the port while it is free;
/// not assigned by IANA, which leaves 334 to 343 free; and below 512, from where no RPC client
/// takes the port that it calls from. The socket unit says the same.
pub const MIRROR: &str = "127.0.0.1:335";
/// Where the package puts this program.
pub const PROGRAM: &str = "/usr/bin/lighterman";
