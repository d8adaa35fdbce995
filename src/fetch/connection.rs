//! One request: a part of a blob from the network to the disk.
//!
//! What comes is written in large pieces on a thread that may block, one piece at a time: as it
//! came where it came large, else gathered. While the disk is busy the next piece fills, and when
//! that is full nobody reads from the network any more. So a connection holds two pieces,
//! however slow the disk is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::registry::{BlobSource, BlobStream};
use crate::store::StoreError;
use crate::store::staging::{Partial, PartialError};

use super::engine::Engine;
use super::error::Cause;
use super::flight::Flight;
use super::lanes::Lane;
use super::ledger::HostClass;
use super::split::Claim;

/// What all connections for one blob at one host share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) engine: Engine,
    pub(super) source: Arc<BlobSource>,
    pub(super) patience: Duration,
    pub(super) partial: Arc<Partial>,
    pub(super) flight: Arc<Flight>,
    /// The host's name, for the journal.
    pub(super) host: String,
    /// What it is to the image.
    pub(super) class: HostClass,
    /// A first reply came: where the blob is and whether ranges work is known.
    pub(super) answered: AtomicBool,
    /// One connection brings the whole blob.
    pub(super) whole: AtomicBool,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// The range of the claim.
    Part,
    /// All of the blob, without a range.
    Whole,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) lane: Lane,
    /// The claim that it had, by number.
    pub(super) claim: u64,
    pub(super) outcome: Result<(), Cause>,
    /// Bytes that came, and how long it took.
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

/// A connection at work.
pub(super) struct Connection {
    pub(super) common: Arc<Common>,
    pub(super) lane: Lane,
    pub(super) claim: Arc<Claim>,
    pub(super) number: u64,
    pub(super) request: Request,
}

impl Connection {
    /// Brings what is claimed, as far as it comes. What came before a failure is written.
    pub(super) async fn run(self) -> Ended {
        let started = Instant::now();
        let mut bytes = 0;
        let outcome = self.bring(&mut bytes).await;
        Ended { lane: self.lane, claim: self.number, outcome, bytes, took: started.elapsed() }
    }

    async fn bring(&self, bytes: &mut u64) -> Result<(), Cause> {
        let common = &self.common;
        let asked = self.claim.range();
        let part = (self.request == Request::Part).then_some(asked.clone());
        let mut stream = tokio::select! {
            opened = common.source.open(part, common.patience) => opened?,
            () = self.claim.given_up() => return Ok(()),
        };
        let came = stream.range();
        let is_part = self.request == Request::Part && came.start == asked.start && came.end <= asked.end;
        // Where the whole comes instead of a part, it takes one connection and not several.
        if !is_part && common.whole.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let ended = self.pass_on(&mut stream, is_part, bytes).await;
        if !is_part {
            common.whole.store(false, Ordering::Release);
        }
        ended
    }

    /// Network to disk, from the start of the stream to its end or that of the claim.
    async fn pass_on(&self, stream: &mut BlobStream, is_part: bool, bytes: &mut u64) -> Result<(), Cause> {
        let common = &self.common;
        let mut at = stream.range().start;
        let mut writer = Writer::new(Arc::clone(common), at);
        let outcome = loop {
            self.claim.set_awaits(true);
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = self.claim.given_up() => break Ok(()),
            };
            let chunk = match next {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Cause::from(error)),
            };
            self.claim.set_awaits(false);
            if !common.answered.swap(true, Ordering::AcqRel) {
                common.engine.lanes().wake();
            }
            self.lane.received(chunk.len());
            common.flight.count(chunk.len());
            common.engine.ledger().received(common.class, chunk.len() as u64);
            *bytes += chunk.len() as u64;
            // Somebody else may have taken over the end of the claim.
            let end = if is_part { self.claim.end() } else { u64::MAX };
            let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(chunk.len());
            let length = chunk.len();
            writer.take(chunk.slice(..wanted)).await?;
            at += wanted as u64;
            self.claim.reached(at);
            common.engine.bandwidth().pay(length).await;
            if at >= end {
                break Ok(());
            }
        };
        writer.finish().await.map_err(Cause::from)?;
        outcome
    }
}

/// Gathers bytes and writes them behind the caller's back.
struct Writer {
    common: Arc<Common>,
    /// Where in the blob the next piece starts.
    offset: u64,
    gathered: BytesMut,
    /// A piece that is being written, and what comes of it.
    writing: Option<JoinHandle<Result<(), PartialError>>>,
}

impl Writer {
    fn new(common: Arc<Common>, offset: u64) -> Self {
        Self { common, offset, gathered: BytesMut::new(), writing: None }
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<(), PartialError> {
        let piece = self.common.engine.limits().chunk_bytes.max(1);
        while !bytes.is_empty() {
            // Copying costs more than a shorter write, unless it is much shorter.
            if self.gathered.is_empty() && bytes.len() >= piece / 4 {
                return self.write(bytes).await;
            }
            let now = bytes.split_to(bytes.len().min(piece - self.gathered.len()));
            self.gathered.extend_from_slice(&now);
            if self.gathered.len() == piece {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes what is gathered.
    async fn flush(&mut self) -> Result<(), PartialError> {
        let gathered = std::mem::take(&mut self.gathered).freeze();
        if gathered.is_empty() { Ok(()) } else { self.write(gathered).await }
    }

    /// Starts writing a piece, once the one before is written.
    async fn write(&mut self, piece: Bytes) -> Result<(), PartialError> {
        self.settle().await?;
        let (common, offset) = (Arc::clone(&self.common), self.offset);
        self.offset += piece.len() as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            common.partial.write_at(offset, &piece, &common.host)?;
            common.flight.advanced(common.partial.written());
            Ok(())
        }));
        Ok(())
    }

    /// Waits for the disk.
    async fn settle(&mut self) -> Result<(), PartialError> {
        match self.writing.take() {
            Some(writing) => writing.await.map_err(|error| StoreError::thread(&error))?,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<(), PartialError> {
        self.flush().await?;
        self.settle().await
    }
}
