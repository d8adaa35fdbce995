//! Whether somebody waits for what is looked for. The thread that looks into an image cannot be
//! stopped from outside: it waits for bytes, and goes on with those that came, as long as it is wanted.

use std::io;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// What a thread waits with.
#[derive(Debug, Clone)]
pub struct Interest {
    runtime: Handle,
    lost: CancellationToken,
}

impl Interest {
    /// It lasts until `lost` is cancelled.
    #[must_use]
    pub fn until(lost: CancellationToken, runtime: Handle) -> Self {
        Self { runtime, lost }
    }

    /// Waits for some work, unless nobody waits for it in turn. Blocks.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        self.runtime.block_on(self.lost.run_until_cancelled(work)).ok_or_else(nobody)
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if self.lost.is_cancelled() { Err(nobody()) } else { Ok(()) }
    }
}

impl From<Handle> for Interest {
    /// It lasts for ever.
    fn from(runtime: Handle) -> Self {
        Self::until(CancellationToken::new(), runtime)
    }
}

fn nobody() -> io::Error {
    io::Error::other("nobody waits for what is in the image any more")
}
