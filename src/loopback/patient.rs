//! A stream whose other side has to take what is sent, within bounds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes per second that keep up patience: what limits ask of registries, too.
const LEAST: u64 = 1024;

/// A stream that fails once writes to it have waited for so long. What is taken buys time again, at
/// [`LEAST`]: a byte now and then keeps nobody his place.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// What is left of it.
    left: Duration,
    /// When that ends, while a write waits.
    end: Pin<Box<Sleep>>,
    waiting_since: Option<Instant>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        let end = Box::pin(tokio::time::sleep(patience));
        Self { stream, patience, left: patience, end, waiting_since: None }
    }

    /// What came of a write; a failure where it has waited for too long.
    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let waited = self.waiting_since.take().map(|since| since.elapsed()).unwrap_or_default();
            let bought = Duration::from_secs(*written.as_ref().unwrap_or(&0) as u64) / LEAST as u32;
            self.left = (self.left.saturating_sub(waited) + bought).min(self.patience);
            return Poll::Ready(written);
        }
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            self.end.as_mut().reset(now + self.left);
        }
        self.end
            .as_mut()
            .poll(context)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_enough_is_not() {
        // As much as has to be taken in five sixths of the time.
        const SOME: usize = 50 * LEAST as usize;
        let (mut client, server) = tokio::io::duplex(SOME);
        let mut server = Patient::new(server, PATIENCE);
        let begun = Instant::now();
        let writing = tokio::spawn(async move { server.write_all(&[0; 20 * SOME]).await });
        let mut some = [0; SOME];
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.read_exact(&mut some).await.expect("the server has not given up");
        }
        let written = writing.await.expect("no panic");
        assert_eq!(written.expect_err("nothing was taken any more").kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 5 * 50 + PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_is_given_up() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = Patient::new(server, PATIENCE);
        let begun = Instant::now();
        let writing = tokio::spawn(async move { server.write_all(&[0; 1000]).await });
        let dripping = tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            }
        });
        let written = writing.await.expect("no panic");
        assert_eq!(written.expect_err("too little was taken").kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
        dripping.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_sent_nothing_may_wait_as_long_as_that_takes() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = Patient::new(server, PATIENCE);
        tokio::time::sleep(PATIENCE * 10).await;
        server.write_all(b"late").await.expect("it was not the client who was late");
        let mut heard = [0; 4];
        client.read_exact(&mut heard).await.expect("is heard");
    }
}
