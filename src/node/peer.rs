//! Who is at the other end of a unix socket.
//!
//! The kernel tells what was true when the other side connected (SO_PEERCRED, unix(7)). The
//! name of the program is looked up by the process id afterwards: it is for logs, and nothing
//! may be decided by it.

use std::fmt;
use std::io;

use tokio::net::UnixStream;
use tokio::net::unix::UCred;

/// A process that called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its process id, where it is one that we can see.
    pub pid: Option<i32>,
    /// The user that it runs as.
    pub uid: u32,
    /// The group that it runs as.
    pub gid: u32,
    /// What the kernel calls it, at most 15 bytes; where it still runs.
    pub comm: Option<String>,
}

impl Peer {
    /// Asks the kernel who is at the other end.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        stream.peer_cred().map(Self::from)
    }
}

impl From<UCred> for Peer {
    fn from(credentials: UCred) -> Self {
        // 0 stands for a process of a PID namespace that is none of ours.
        let pid = credentials.pid().filter(|pid| *pid > 0);
        Self { pid, uid: credentials.uid(), gid: credentials.gid(), comm: pid.and_then(comm) }
    }
}

/// As in `kubelet[812] uid=0 gid=0`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.comm.as_deref().unwrap_or("unknown"))?;
        if let Some(pid) = self.pid {
            write!(f, "[{pid}]")?;
        }
        write!(f, " uid={} gid={}", self.uid, self.gid)
    }
}

fn comm(pid: i32) -> Option<String> {
    std::fs::read(format!("/proc/{pid}/comm")).ok().map(|bytes| readable(&bytes))
}

/// A process may call itself anything, line breaks and terminal sequences included.
fn readable(comm: &[u8]) -> String {
    let comm = comm.strip_suffix(b"\n").unwrap_or(comm);
    String::from_utf8_lossy(comm).chars().flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::{Peer, UnixStream, readable};

    #[tokio::test]
    async fn the_other_end_of_a_pair_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().expect("pair");
        let peer = Peer::of(&ours).expect("credentials");
        assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.gid, nix::unistd::getegid().as_raw());
        let own = std::fs::read("/proc/self/comm").expect("a name");
        // /proc/self names the thread group, as the credentials do.
        assert_eq!(peer.comm, Some(readable(&own)));
        let expected = format!("[{}] uid={} gid={}", std::process::id(), peer.uid, peer.gid);
        assert!(peer.to_string().ends_with(&expected), "{peer}");
    }

    #[test]
    fn names_cannot_write_to_a_terminal() {
        for (comm, expected) in [(&b"kubelet\n"[..], "kubelet"), (b"a\x1b[2J\n", "a\\u{1b}[2J"), (b"a\nb\n", "a\\nb")] {
            assert_eq!(readable(comm), expected);
        }
        let gone = Peer { pid: None, uid: 1, gid: 2, comm: None };
        assert_eq!(gone.to_string(), "unknown uid=1 gid=2");
    }
}
