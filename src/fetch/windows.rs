//! Parts of a blob for somebody who looks into it and keeps none of it: no staging, no store.
//!
//! Few bytes are wanted, so a part is one request over one connection, beside those of the
//! downloads. What comes cannot be verified: a digest is one of the whole blob.
//!
//! A host that does not serve ranges sends the whole from its first byte on. That stream is
//! kept open for the next part, and broken off when nobody wants another.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::core::descriptor::Descriptor;
use crate::core::reference::Reference;
use crate::registry::{BlobSource, BlobStream, Operation};

use super::Fetcher;
use super::attempts::Attempts;
use super::error::{Cause, FetchError};
use super::ledger::HostClass;

/// How often hosts are asked for parts of one blob, beside once for so many bytes that came. Whoever
/// answers with a few bytes at a time is not asked for ever.
const REQUESTS: u64 = 256;
const BYTES_A_REQUEST: u64 = 16 * 1024;

/// A blob that is looked into.
#[derive(Debug)]
pub struct Windows {
    fetcher: Fetcher,
    reference: Reference,
    blob: Descriptor,
    /// What is known of the blob at each host that was asked.
    sources: HashMap<String, Arc<BlobSource>>,
    whole: Option<Whole>,
    received: u64,
    requests: usize,
}

/// The whole blob on its way, from a host that was asked for a part.
#[derive(Debug)]
struct Whole {
    stream: BlobStream,
    class: HostClass,
    /// Where in the blob `rest` begins.
    at: u64,
    /// What came and was not taken yet.
    rest: Bytes,
}

impl Fetcher {
    /// Looks into a blob. Whoever asks has to have shown before that he may read it.
    #[must_use]
    pub fn windows(&self, reference: &Reference, blob: &Descriptor) -> Windows {
        Windows {
            fetcher: self.clone(),
            reference: reference.clone(),
            blob: blob.clone(),
            sources: HashMap::new(),
            whole: None,
            received: 0,
            requests: 0,
        }
    }
}

impl Windows {
    /// The bytes of `range`, or only its first ones where more than `most` bytes would have to be
    /// received for them all, retries included, or where hosts were asked too often for too little;
    /// nothing where not even one is to be had for that.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn read(&mut self, range: Range<u64>, most: u64) -> Result<Bytes, FetchError> {
        let until = self.received.saturating_add(most);
        let mut window = Window { at: range.start, end: range.end.min(self.blob.size), until, bytes: BytesMut::new() };
        let fetcher = self.fetcher.clone();
        let mut attempts = fetcher.attempts(self.blob.digest.to_string(), Operation::Pull)?;
        while window.is_wanted(self.received) && self.requests as u64 <= REQUESTS + self.received / BYTES_A_REQUEST {
            attempts.start_at(window.at);
            let outcome = self.bring(&attempts, &mut window).await;
            attempts.ended_at(window.at);
            match outcome {
                Ok(true) => attempts.succeeded(),
                Ok(false) => break,
                Err(cause) => attempts.failed(cause).await?,
            }
        }
        Ok(window.bytes.freeze())
    }

    /// Bytes that came so far, wanted or not.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How often a host was asked.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Whether parts can be had without what is before them, as far as is known.
    #[must_use]
    pub fn does_ranges(&self) -> bool {
        self.sources.values().all(|source| source.does_ranges())
    }

    /// One request at the most; false where it would bring too much.
    async fn bring(&mut self, attempts: &Attempts<'_>, window: &mut Window) -> Result<bool, Cause> {
        if let Some(mut whole) = self.whole.take_if(|whole| whole.at <= window.at) {
            return self.go_on(&mut whole, window).await.inspect(|_| self.whole = Some(whole));
        }
        let (host, patience) = (attempts.host(), attempts.patience());
        let new = || Arc::new(self.fetcher.engine().client().source(host, &self.reference, &self.blob));
        let source = Arc::clone(self.sources.entry(host.to_string()).or_insert_with(new));
        self.requests += 1;
        let stream = source.open(Some(window.at..window.end), patience).await?;
        let (came, class) = (stream.range(), HostClass::of(host));
        let mut whole = Whole { stream, class, at: came.start, rest: Bytes::new() };
        let brought = self.go_on(&mut whole, window).await?;
        if came.end > window.end || !brought {
            self.whole = Some(whole);
        }
        Ok(brought)
    }

    /// Takes what a stream brings; false where too much would come before what is wanted.
    async fn go_on(&mut self, whole: &mut Whole, window: &mut Window) -> Result<bool, Cause> {
        let skipped = (window.at - whole.at).saturating_sub(whole.rest.len() as u64);
        if self.received.saturating_add(skipped) >= window.until {
            return Ok(false);
        }
        while window.is_wanted(self.received) {
            if whole.rest.is_empty() {
                let Some(bytes) = whole.stream.next().await? else { break };
                self.received += bytes.len() as u64;
                let engine = self.fetcher.engine();
                engine.ledger().received(whole.class, bytes.len() as u64);
                engine.bandwidth().pay(bytes.len()).await;
                whole.rest = bytes;
            }
            window.take(whole);
        }
        Ok(true)
    }
}

/// What is wanted of a blob, and what came of it.
struct Window {
    /// The first byte that is missing.
    at: u64,
    end: u64,
    /// No more is asked for once so many bytes were received.
    until: u64,
    bytes: BytesMut,
}

impl Window {
    fn is_wanted(&self, received: u64) -> bool {
        self.at < self.end && received < self.until
    }

    /// Takes from the bytes at hand what is wanted, and passes over what is before that.
    fn take(&mut self, whole: &mut Whole) {
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(whole.rest.len());
        let skipped = whole.rest.split_to(length(self.at - whole.at));
        let taken =
            whole.rest.split_to(usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(whole.rest.len()));
        whole.at += (skipped.len() + taken.len()) as u64;
        self.at += taken.len() as u64;
        self.bytes.extend_from_slice(&taken);
    }
}
