//! Taking over the sockets that systemd holds for the daemon.
//!
//! systemd passes listening sockets as open descriptors, from 3 on, and their names in
//! `LISTEN_FDNAMES`: the `FileDescriptorName=` of each socket unit. Names decide, not numbers,
//! so that units can be enabled one by one.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use crate::node::NodeError;

/// SD_LISTEN_FDS_START: the first descriptor that is passed.
const FIRST: RawFd = 3;
/// More sockets than anybody listens on; a bound against a nonsensical environment.
const MOST: usize = 64;

/// Listening sockets that were open before we were. None of them blocks.
#[derive(Debug, Default)]
pub struct Sockets {
    /// `api`: gRPC and CRI.
    pub api: Option<UnixListener>,
    /// `mirror`: the registry on loopback.
    pub mirror: Vec<TcpListener>,
    /// `metrics`: Prometheus.
    pub metrics: Vec<TcpListener>,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Api,
    Mirror,
    Metrics,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Api, Self::Mirror, Self::Metrics];

    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Mirror => "mirror",
            Self::Metrics => "metrics",
        }
    }
}

impl Sockets {
    /// Takes over what systemd passed; nothing where it passed nothing. The first call gets
    /// them, every later one finds none.
    ///
    /// # Errors
    /// [`NodeError`] where they are for another process, or not what their names promise.
    pub fn inherited() -> Result<Self, NodeError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let announced = Announcement {
            pid: variable("LISTEN_PID"),
            count: variable("LISTEN_FDS"),
            names: variable("LISTEN_FDNAMES"),
        };
        let purposes = announced.read(std::process::id())?;
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Self::default());
        }
        let mut sockets = Self::default();
        for (descriptor, purpose) in (FIRST..).zip(purposes) {
            let socket = own(descriptor).map_err(|source| NodeError::Descriptor { descriptor, source })?;
            sockets.put(purpose, socket).map_err(|problem| match problem {
                Problem::Refused(error) => error,
                Problem::Kernel(source) => NodeError::Descriptor { descriptor, source },
            })?;
        }
        Ok(sockets)
    }

    fn put(&mut self, purpose: Purpose, socket: OwnedFd) -> Result<(), Problem> {
        let name = purpose.name();
        let (expected, families): (_, &[_]) = match purpose {
            Purpose::Api => ("unix", &[AddressFamily::UNIX]),
            Purpose::Mirror | Purpose::Metrics => ("TCP", &[AddressFamily::INET, AddressFamily::INET6]),
        };
        if !listens(socket.as_fd(), families) {
            return Err(Problem::Refused(NodeError::WrongSocket { name, expected }));
        }
        match purpose {
            Purpose::Api if self.api.is_some() => return Err(Problem::Refused(NodeError::TwoSockets { name })),
            Purpose::Api => {
                let listener = UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                self.api = Some(listener);
            }
            Purpose::Mirror | Purpose::Metrics => {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                let list = if purpose == Purpose::Mirror { &mut self.mirror } else { &mut self.metrics };
                list.push(listener);
            }
        }
        Ok(())
    }
}

/// Why one socket was not taken.
#[derive(Debug)]
enum Problem {
    Refused(NodeError),
    Kernel(std::io::Error),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::Kernel(error)
    }
}

/// What the environment says about descriptors.
#[derive(Debug, Default)]
struct Announcement {
    pid: Option<String>,
    count: Option<String>,
    names: Option<String>,
}

impl Announcement {
    /// What each descriptor is for, in the order of their numbers.
    fn read(self, own_pid: u32) -> Result<Vec<Purpose>, NodeError> {
        let (Some(pid), Some(count)) = (self.pid, self.count) else { return Ok(Vec::new()) };
        let theirs: u32 = pid.parse().map_err(|_| NodeError::Variable { name: "LISTEN_PID", value: pid })?;
        let number: usize = match count.parse() {
            Ok(number) if number <= MOST => number,
            _ => return Err(NodeError::Variable { name: "LISTEN_FDS", value: count }),
        };
        if number == 0 {
            return Ok(Vec::new());
        }
        if theirs != own_pid {
            return Err(NodeError::SocketsOfAnother { theirs, ours: own_pid });
        }
        let list = self.names.unwrap_or_default();
        let names: Vec<&str> = list.split(':').collect();
        if names.len() != number {
            return Err(NodeError::Variable { name: "LISTEN_FDNAMES", value: list });
        }
        names.into_iter().map(purpose).collect()
    }
}

fn purpose(name: &str) -> Result<Purpose, NodeError> {
    Purpose::ALL.into_iter().find(|purpose| purpose.name() == name).ok_or_else(|| NodeError::UnknownSocket {
        name: name.into(),
        known: Purpose::ALL.map(Purpose::name).join(", "),
    })
}

/// Whether connections can be accepted on it, from addresses of one of these families.
fn listens(socket: BorrowedFd<'_>, families: &[AddressFamily]) -> bool {
    socket_domain(socket).is_ok_and(|family| families.contains(&family))
        && socket_type(socket) == Ok(SocketType::STREAM)
        && socket_acceptconn(socket) == Ok(true)
}

/// Makes an inherited descriptor ours, and keeps it from the programs that we start.
#[expect(unsafe_code, reason = "descriptors are inherited as numbers")]
fn own(descriptor: RawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: it is borrowed for one call, which fails where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and systemd gave it to this very process, whose first and only
    // taker this is.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::core::error::Classify;

    const PID: u32 = 42;

    fn announced(pid: &str, count: &str, names: Option<&str>) -> Result<Vec<Purpose>, NodeError> {
        let text = |text: &str| Some(text.to_owned());
        Announcement { pid: text(pid), count: text(count), names: names.map(str::to_owned) }.read(PID)
    }

    #[test]
    fn names_say_what_descriptors_are_for() {
        use Purpose::{Api, Metrics, Mirror};
        assert_eq!(Announcement::default().read(PID).expect("nothing"), []);
        assert_eq!(announced("7", "0", None).expect("nothing"), []);
        assert_eq!(announced("42", "1", Some("api")).expect("one"), [Api]);
        let four = announced("42", "4", Some("mirror:api:mirror:metrics"));
        assert_eq!(four.expect("four"), [Mirror, Api, Mirror, Metrics]);
    }

    #[test]
    fn what_systemd_would_not_say_is_refused_in_words() {
        let cases = [
            (announced("7", "1", Some("api")), "for process 7, and this is process 42"),
            (announced("x", "1", Some("api")), "LISTEN_PID=\"x\""),
            (announced("42", "-1", Some("api")), "LISTEN_FDS=\"-1\""),
            (announced("42", "65", None), "LISTEN_FDS=\"65\""),
            (announced("42", "2", Some("api")), "LISTEN_FDNAMES=\"api\""),
            (announced("42", "2", None), "LISTEN_FDNAMES=\"\""),
            (announced("42", "1", None), "a socket called \"\""),
            (announced("42", "1", Some("lighterman.socket")), "known here are api, mirror, metrics"),
        ];
        for (outcome, expected) in cases {
            let error = outcome.expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn only_sockets_of_the_promised_kind_are_taken() {
        let folder = tempfile::tempdir().expect("folder");
        let unix = || {
            let path = folder.path().join("s");
            let _ = std::fs::remove_file(&path);
            OwnedFd::from(UnixListener::bind(path).expect("binds"))
        };
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("binds"));
        let mut sockets = Sockets::default();
        sockets.put(Purpose::Api, unix()).expect("a unix socket");
        sockets.put(Purpose::Mirror, tcp()).expect("a TCP socket");
        sockets.put(Purpose::Mirror, tcp()).expect("another");
        sockets.put(Purpose::Metrics, tcp()).expect("a third");
        assert_eq!((sockets.api.iter().len(), sockets.mirror.len(), sockets.metrics.len()), (1, 2, 1));
        let would_block = sockets.mirror[0].accept().expect_err("nobody connects");
        assert_eq!(would_block.kind(), std::io::ErrorKind::WouldBlock);

        let datagram = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").expect("binds"));
        let connected = OwnedFd::from(UnixStream::pair().expect("pair").0);
        let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("opens"));
        for (purpose, wrong) in [
            (Purpose::Api, tcp()),
            (Purpose::Mirror, unix()),
            (Purpose::Metrics, datagram),
            (Purpose::Api, connected),
            (Purpose::Mirror, file),
        ] {
            let refused = Sockets::default().put(purpose, wrong);
            assert!(matches!(refused, Err(Problem::Refused(NodeError::WrongSocket { .. }))), "{purpose:?}");
        }
        let twice = sockets.put(Purpose::Api, unix());
        assert!(matches!(twice, Err(Problem::Refused(NodeError::TwoSockets { name: "api" }))));
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert!(own(1 << 20).is_err());
    }
}
