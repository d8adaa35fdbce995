//! A stream whose other side has to take what is sent, within bounds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream that fails once nothing could be written to it for so long.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// When patience ends, while a write waits.
    end: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, end: Box::pin(tokio::time::sleep(patience)), is_waiting: false }
    }

    /// What came of a write; a failure where it has waited for too long.
    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.end.as_mut().reset(Instant::now() + self.patience);
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
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = Patient::new(server, PATIENCE);
        let begun = Instant::now();
        let writing = tokio::spawn(async move { server.write_all(&[0; 1000]).await });
        let mut some = [0; 8];
        for _ in 0..5 {
            tokio::time::sleep(PATIENCE * 9 / 10).await;
            client.read_exact(&mut some).await.expect("the server has not given up");
        }
        let written = writing.await.expect("no panic");
        assert_eq!(written.expect_err("nothing was taken any more").kind(), io::ErrorKind::TimedOut);
        // Five waits, and one that was too long.
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs() * 9 / 10 * 5 + PATIENCE.as_secs());
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
