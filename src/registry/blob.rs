//! One blob at one host: asked for in parts or whole, over as many requests as it takes.
//!
//! A [`BlobSource`] remembers between requests what only the first one has to find out: where
//! the registry redirects to, which version of the blob is served there, and whether ranges
//! work. Nothing here retries a failure. What is asked again, once, is what the *answer* calls
//! for: a signed URL that expired is replaced, and a host that does not do ranges, or lies
//! about them, is asked for the whole.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Response, Url};

use super::client::Client;
use super::error::{Reason, RegistryError, SizeClaim, Stage};
use super::hosts::Host;
use super::pace::Pace;
use super::reply::{self, Validator};
use super::transport::{Reply, next_chunk, read_some};
use crate::core::descriptor::Descriptor;
use crate::core::reference::Reference;

/// Of the body of an answer that is not used this much is read, so that the connection stays.
const UNUSED_BODY: usize = 4096;

/// A blob at a host.
#[derive(Debug)]
pub struct BlobSource {
    client: Client,
    host: Host,
    reference: Reference,
    descriptor: Descriptor,
    subject: String,
    known: Mutex<Known>,
    /// Held by the one request that finds out where the blob is.
    resolving: tokio::sync::Mutex<()>,
}

/// What earlier answers told.
#[derive(Debug, Default)]
struct Known {
    place: Place,
    validator: Option<Validator>,
}

/// Where the bytes are.
#[derive(Clone, Default)]
enum Place {
    /// Nobody asked yet, or what was known does not hold any more.
    #[default]
    Unknown,
    /// With the registry itself.
    Here,
    /// Where it redirects to. The URL may be signed: it is in no message and no log.
    There(Url),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Here => "Here",
            Self::There(_) => "There",
        })
    }
}

/// What came of asking for a part.
enum Answer {
    Stream(BlobStream),
    /// This host does not do ranges, and how that showed.
    NoRanges(String),
}

impl BlobSource {
    pub(super) fn new(client: Client, host: Host, reference: Reference, descriptor: Descriptor) -> Self {
        let subject = format!("blob {} of {}", descriptor.digest, reference.repository());
        let (known, resolving) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { client, host, reference, descriptor, subject, known, resolving }
    }

    /// The host that is asked.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the host is believed to serve ranges. True until it shows otherwise.
    #[must_use]
    pub fn does_ranges(&self) -> bool {
        self.client.unranged().trusts(&self.host)
    }

    /// Asks for a part of the blob, or for all of it. The stream is the whole blob, from byte 0,
    /// where the host turns out not to serve ranges; a part may also end early. `patience` is how
    /// long nothing, or too little to count, may come, before the head and after it.
    ///
    /// # Errors
    /// [`RegistryError`]; another size than the descriptor's is one.
    pub async fn open(&self, part: Option<Range<u64>>, patience: Duration) -> Result<BlobStream, RegistryError> {
        if let Some(part) = part.filter(|_| self.does_ranges()) {
            match self.part(&part, patience).await? {
                Answer::Stream(stream) => return Ok(stream),
                Answer::NoRanges(how) => {
                    tracing::info!(host = %self.host, %how, "the host does not serve ranges: blobs come in one piece");
                    self.client.unranged().note(&self.host);
                }
            }
        }
        let reply = self.request(None, patience).await?;
        if reply.response.status() != StatusCode::OK {
            return Err(self.client.status(&self.subject, reply).await);
        }
        let range = reply::blob_range(StatusCode::OK, reply.response.headers(), None, self.descriptor.size);
        let range = range.map_err(|reason| self.failed(&reply.from, Stage::Request, reason))?;
        Ok(self.stream(reply, range, patience))
    }

    async fn part(&self, part: &Range<u64>, patience: Duration) -> Result<Answer, RegistryError> {
        let reply = self.request(Some(part), patience).await?;
        let status = reply.response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            // 416 is what a server that minds ranges says of one that it cannot serve, 400 what
            // some say of any.
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::BAD_REQUEST => {
                let error = self.client.status(&self.subject, reply).await;
                return Ok(Answer::NoRanges(error.reason().to_string()));
            }
            _ => return Err(self.client.status(&self.subject, reply).await),
        }
        let headers = reply.response.headers();
        let range = match reply::blob_range(status, headers, Some(part), self.descriptor.size) {
            Ok(range) => range,
            Err(reason @ Reason::Range { .. }) => return Ok(Answer::NoRanges(reason.to_string())),
            Err(reason) => return Err(self.failed(&reply.from, Stage::Request, reason)),
        };
        if status == StatusCode::OK && *part != (0..self.descriptor.size) {
            self.client.unranged().note(&self.host);
        } else if !self.same_version(headers) {
            return Ok(Answer::NoRanges("another ETag or Last-Modified than the part before".into()));
        }
        Ok(Answer::Stream(self.stream(reply, range, patience)))
    }

    /// One request, to where the blob is known to be or else through the registry.
    async fn request(&self, part: Option<&Range<u64>>, patience: Duration) -> Result<Reply, RegistryError> {
        let client = self.client.patient(patience);
        let mut headers = HeaderMap::new();
        if let Some(part) = part {
            let bytes = format!("bytes={}-{}", part.start, part.end - 1);
            headers.extend(HeaderValue::from_str(&bytes).map(|value| (RANGE, value)));
            headers.extend(self.known().validator.as_ref().and_then(Validator::strong).map(|etag| (IF_RANGE, etag)));
        }
        if let Some(reply) = self.known_way(&client, &headers).await? {
            return Ok(reply);
        }
        // Where nobody answers, all wait out the same silence, and not one after the other.
        let late = |_| self.failed(&self.host.authority, Stage::Request, Reason::Timeout { after: patience });
        let _turn = tokio::time::timeout(patience, self.resolving.lock()).await.map_err(late)?;
        // Whoever had the turn before has found out what we wanted to know.
        if let Some(reply) = self.known_way(&client, &headers).await? {
            return Ok(reply);
        }
        let reply = client.ask_for_blob(&self.host, &self.reference, &self.descriptor, headers).await?;
        if reply.response.status().is_success() {
            self.known().place = if reply.strange { Place::There(reply.url.clone()) } else { Place::Here };
        }
        Ok(reply)
    }

    /// A reply from where the blob is known to be; `None` where that has to be found out (again).
    async fn known_way(&self, client: &Client, headers: &HeaderMap) -> Result<Option<Reply>, RegistryError> {
        let place = self.known().place.clone();
        match place {
            Place::Unknown => Ok(None),
            Place::Here => {
                let asked = client.ask_for_blob(&self.host, &self.reference, &self.descriptor, headers.clone());
                asked.await.map(Some)
            }
            Place::There(url) => {
                let reply = client.go_to(&self.host, &self.subject, &url, headers.clone()).await;
                let gone = reply.as_ref().map_or(true, |reply| has_expired(reply.response.status()));
                if gone {
                    self.forget(&url);
                }
                let reply = reply?;
                if gone {
                    tracing::debug!(host = %reply.from, status = %reply.response.status(), "a redirect's target expired");
                    read_some(reply.response, UNUSED_BODY).await;
                    return Ok(None);
                }
                Ok(Some(reply))
            }
        }
    }

    fn forget(&self, url: &Url) {
        let mut known = self.known();
        if matches!(&known.place, Place::There(there) if there == url) {
            known.place = Place::Unknown;
        }
    }

    /// Whether this is the version that earlier parts came from; remembers the first one.
    fn same_version(&self, headers: &HeaderMap) -> bool {
        let mut known = self.known();
        match (&known.validator, Validator::of(headers)) {
            (Some(before), Some(now)) => before.agrees_with(&now),
            (None, now) => {
                known.validator = now;
                true
            }
            (Some(_), None) => true,
        }
    }

    fn stream(&self, reply: Reply, range: Range<u64>, patience: Duration) -> BlobStream {
        BlobStream {
            remaining: range.end - range.start,
            range,
            size: self.descriptor.size,
            pace: Pace::new(self.client.limits().stall_rate, patience),
            response: reply.response,
            from: reply.from,
            subject: self.subject.clone(),
        }
    }

    fn failed(&self, from: &str, stage: Stage, reason: Reason) -> RegistryError {
        RegistryError::new(from, &self.subject, stage, reason)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whole after any panic: every change is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What storage says of a URL whose signature ran out, or that was for one use only.
fn has_expired(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

/// The body of a blob or a part of it. It never gives more bytes than [`BlobStream::range`]
/// has, and an end that comes early is an error; whether the bytes are the right ones is for
/// the digest to say.
#[derive(Debug)]
pub struct BlobStream {
    range: Range<u64>,
    size: u64,
    remaining: u64,
    pace: Pace,
    response: Response,
    from: String,
    subject: String,
}

impl BlobStream {
    /// Which bytes of the blob come: those asked for or their beginning, or the whole blob
    /// where the host ignored the range.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The next bytes; `None` once all have come.
    ///
    /// # Errors
    /// [`RegistryError`] with stage [`Stage::Body`]: the connection broke, ended early or
    /// became too slow, or the host sends on after the last byte.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let arrived = next_chunk(&mut self.response, &mut self.pace).await;
        let Some(chunk) = arrived.map_err(|(stage, reason)| self.failed(stage, reason))? else {
            return match self.remaining {
                0 => Ok(None),
                missing => Err(self.failed(Stage::Body, Reason::Truncated { missing })),
            };
        };
        let length = chunk.len() as u64;
        if length > self.remaining {
            let reason = Reason::Size { expected: self.size, claim: SizeClaim::Exceeded };
            return Err(self.failed(Stage::Body, reason));
        }
        self.remaining -= length;
        Ok(Some(chunk))
    }

    /// `host[:port]` that sends it: the host that was asked, or where it redirected to.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    fn failed(&self, stage: Stage, reason: Reason) -> RegistryError {
        RegistryError::new(&self.from, &self.subject, stage, reason)
    }
}
