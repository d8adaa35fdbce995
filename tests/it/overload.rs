//! More than anybody should ask for: calls, pulls, layers, entries, bytes. What is over a limit is
//! refused before anything is fetched, by a message that names the limit; everything else waits for
//! its turn within a bound of memory, and gives its place up as soon as nobody wants it any more.
//!
//!     cargo test --test it overload::
//!     LIGHTERMAN_OVERLOAD_CALLS=10000 cargo test --test it overload::questions
//!     LIGHTERMAN_OVERLOAD_GB=20 cargo test --test it overload::large

mod indexes;
mod large;
mod layers;
mod questions;
mod queue;

use std::path::Path;

use lighterman::core::error::{Classify as _, Kind};
use lighterman::service::api::client::{Client, ClientError};
use tokio::runtime::Runtime;

/// What the whole daemon may have resident at its peak, in KiB.
const PEAK: u64 = 128 * 1024;

/// Connections to a daemon.
fn connect(runtime: &Runtime, socket: &Path, count: usize) -> Vec<Client> {
    let connect = |_| runtime.block_on(Client::connect(socket)).expect("connects");
    (0..count).map(connect).collect()
}

/// What kind of failure it was.
fn kind<T>(outcome: &Result<T, ClientError>) -> Option<Kind> {
    outcome.as_ref().err().map(|error| error.kind())
}
