//! What a registry of ours remembers of every request, and of what it sent.

use std::time::Instant;

/// One request, as it came, and what became of it so far.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(super) headers: Vec<(String, String)>,
    /// Which connection it came on, counted from 0 over those that carried any request.
    pub(crate) connection: usize,
    /// When it came.
    pub(crate) at: Instant,
    /// The status of the answer; 0 as long as there is none.
    pub(crate) status: u16,
    /// Bytes of the answer's body that were given to the socket. What the other side made of
    /// them is not known here.
    pub(crate) sent: usize,
}

impl Request {
    /// Method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First and last byte of a `Range` header; the last is `None` where it is open.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    }

    /// First and last byte of a `Range` header that has both.
    pub(crate) fn bounded_range(&self) -> Option<(usize, usize)> {
        self.range().and_then(|(first, last)| Some((first, last?)))
    }
}

/// Bytes of bodies that were sent in answer to these.
pub(crate) fn sent(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.sent).sum()
}

/// On how many connections these came.
pub(crate) fn connections(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.connection).collect::<std::collections::BTreeSet<_>>().len()
}
