//! HTTP at this machine's own addresses: who is heard, how many at a time, and how long a client
//! may keep us waiting.
//!
//! The mirror and the metrics listen where every program of this node can reach them, browsers
//! and careless scripts included. What holds for all of them stands here once:
//!
//! ```text
//! guard      requests of web pages, and those that were meant for somebody else, are refused
//! serve      connections are accepted at once; those that find no place are told to come later
//! patient    a client that takes nothing of what is sent to it is given up
//! ```
//!
//! All callers come from one address, so that nobody can be told from the others by where he
//! comes from: a place is taken back from whoever stalls. What is answered is the affair of the
//! services above, and so are the words of what is refused.

mod guard;
mod patient;
mod serve;

#[cfg(test)]
mod tests;

pub use guard::Unheard;
pub use serve::{Site, serve};
