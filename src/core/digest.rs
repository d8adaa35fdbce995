//! Content digests, and the proof that some bytes have one.
//!
//! [`Verified`] is the heart of the promise: its only constructor is
//! [`Verifier::finish`], so a function that takes a `Verified<T>` cannot be given
//! bytes that nobody checked. Stores demand it before anything becomes visible.
//!
//! Specification: OCI image-spec, descriptor.md, "Digests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use super::error::{Classify, Kind};

/// A registered digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every registry uses.
    Sha256,
    /// SHA-512, which the specification allows.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `algorithm:hex`, always well formed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:hex`.
    #[error("{0:?} is not a digest: expected ALGORITHM:HEX, as in sha256:9f86d0…")]
    Malformed(String),
    /// Neither sha256 nor sha512.
    #[error("digest {0:?} uses an algorithm other than sha256 and sha512")]
    UnknownAlgorithm(String),
    /// Wrong length, or a character other than 0-9 and a-f.
    #[error("digest {digest:?} must have {expected} lower-case hex digits after the colon")]
    BadHex {
        /// The text.
        digest: String,
        /// Digits of the algorithm.
        expected: usize,
    },
}

impl Classify for DigestError {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownAlgorithm(_) => Kind::Unsupported,
            Self::Malformed(_) | Self::BadHex { .. } => Kind::InvalidArgument,
        }
    }
}

impl Digest {
    /// The sha256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex(&sha2::Sha256::digest(bytes)) }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hex digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve hex digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or_else(|| DigestError::Malformed(text.into()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "" => return Err(DigestError::Malformed(text.into())),
            _ => return Err(DigestError::UnknownAlgorithm(text.into())),
        };
        let expected = algorithm.hex_len();
        if hex.len() != expected || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::BadHex { digest: text.into(), expected });
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Bytes that turned out not to be the ones that were promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// More bytes than the descriptor's size.
    #[error("{digest} is longer than its descriptor says ({expected} bytes)")]
    TooLong {
        /// What was promised.
        digest: Digest,
        /// The descriptor's size in bytes.
        expected: u64,
    },
    /// Fewer bytes than the descriptor's size.
    #[error("{digest} is shorter than its descriptor says ({actual} of {expected} bytes)")]
    TooShort {
        /// What was promised.
        digest: Digest,
        /// The descriptor's size in bytes.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// The right number of the wrong bytes.
    #[error("content does not match its digest: expected {expected}, got {actual}")]
    Digest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
}

impl Classify for Mismatch {
    fn kind(&self) -> Kind {
        Kind::DigestMismatch
    }
}

/// The instructions for SHA-256 that this CPU has and that digests are computed with; `None`
/// where they are computed with ordinary ones, at about a fifth of the rate. `sha2` looks for
/// the same features at run time.
#[must_use]
pub fn sha256_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let has = std::arch::is_x86_feature_detected!("sha")
            && std::arch::is_x86_feature_detected!("ssse3")
            && std::arch::is_x86_feature_detected!("sse4.1");
        has.then_some("SHA-NI")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("sha2").then_some("ARMv8 cryptography extensions")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    None
}

#[derive(Debug, Clone)]
enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

/// Hashes a stream in order and never accepts more bytes than were promised.
#[derive(Debug, Clone)]
pub struct Verifier {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// A verifier for content with this digest and size in bytes.
    #[must_use]
    pub fn new(expected: Digest, size: u64) -> Self {
        let hasher = match expected.algorithm {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        };
        Self { expected, size, seen: 0, hasher }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`Mismatch::TooLong`] as soon as the stream exceeds its promised size.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        let seen = self.seen.saturating_add(bytes.len() as u64);
        if seen > self.size {
            return Err(Mismatch::TooLong { digest: self.expected.clone(), expected: self.size });
        }
        self.seen = seen;
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
        Ok(())
    }

    /// Bytes that the content has to have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Ends the stream; `content` is what was hashed, and is vouched for from now on.
    ///
    /// # Errors
    /// [`Mismatch`] where size or digest differ; `content` is dropped.
    pub fn finish<T>(self, content: T) -> Result<Verified<T>, Mismatch> {
        if self.seen != self.size {
            return Err(Mismatch::TooShort { digest: self.expected, expected: self.size, actual: self.seen });
        }
        let algorithm = self.expected.algorithm;
        let hex = match self.hasher {
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::Sha512(hasher) => hex(&hasher.finalize()),
        };
        if hex != self.expected.hex {
            return Err(Mismatch::Digest { expected: self.expected, actual: Digest { algorithm, hex } });
        }
        Ok(Verified { digest: self.expected, size: self.size, content })
    }
}

/// Hashes a stream whose length nobody promised: the tar inside a layer, for its diffID.
#[derive(Debug, Clone, Default)]
pub struct Digester {
    hasher: sha2::Sha256,
}

impl Digester {
    /// Takes the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The sha256 digest of all that was taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest { algorithm: Algorithm::Sha256, hex: hex(&self.hasher.finalize()) }
    }
}

/// Content whose size and digest held. Only [`Verifier::finish`] makes one.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    digest: Digest,
    size: u64,
    content: T,
}

impl<T> Verified<T> {
    /// The digest that held.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What was verified.
    #[must_use]
    pub fn content(&self) -> &T {
        &self.content
    }

    /// Gives up the proof and hands out the content.
    #[must_use]
    pub fn into_content(self) -> T {
        self.content
    }
}

impl<T: AsRef<[u8]>> Verified<T> {
    /// Verifies content that is whole in memory.
    ///
    /// # Errors
    /// [`Mismatch`] where size or digest differ.
    pub fn check(content: T, digest: &Digest, size: u64) -> Result<Self, Mismatch> {
        let mut verifier = Verifier::new(digest.clone(), size);
        verifier.update(content.as_ref())?;
        verifier.finish(content)
    }

    /// Vouches for bytes under the digest that they have, for documents asked for by tag,
    /// where the digest is not known beforehand, and for documents that we make ourselves.
    #[must_use]
    pub fn seal(content: T) -> Self {
        let digest = Digest::of(content.as_ref());
        let size = content.as_ref().len() as u64;
        Self { digest, size, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parses_and_prints_round() {
        let digest: Digest = EMPTY.parse().expect("well formed");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest.short(), "e3b0c44298fc");
        let mut digester = Digester::default();
        for bytes in [&b"car"[..], b"", b"go"] {
            digester.update(bytes);
        }
        assert_eq!(digester.finish(), Digest::of(b"cargo"));
    }

    #[test]
    fn refuses_malformed_digests() {
        for text in ["", "sha256", "sha256:", ":abc", "sha256:E3B0", &EMPTY.to_uppercase(), &EMPTY[..70]] {
            assert!(text.parse::<Digest>().is_err(), "{text:?} was accepted");
        }
        assert!(matches!(
            "md5:d41d8cd98f00b204e9800998ecf8427e".parse::<Digest>(),
            Err(DigestError::UnknownAlgorithm(_))
        ));
    }

    #[test]
    fn vouches_only_for_the_promised_bytes() {
        let digest = Digest::of(b"cargo");
        assert!(Verified::check(b"cargo", &digest, 5).is_ok());
        assert!(matches!(Verified::check(b"cargos", &digest, 5), Err(Mismatch::TooLong { .. })));
        assert!(matches!(Verified::check(b"carg", &digest, 5), Err(Mismatch::TooShort { actual: 4, .. })));
        assert!(matches!(Verified::check(b"barge", &digest, 5), Err(Mismatch::Digest { .. })));
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn finds_the_instructions_that_the_kernel_lists() {
        let text = std::fs::read_to_string("/proc/cpuinfo").expect("Linux has it");
        let features = |line: &&str| line.starts_with("flags") || line.starts_with("Features");
        let line = text.lines().find(features).expect("a line of features");
        let name = if cfg!(target_arch = "x86_64") { "sha_ni" } else { "sha2" };
        let listed = line.split_ascii_whitespace().any(|word| word == name);
        assert_eq!(sha256_instructions().is_some(), listed, "{line}");
    }

    #[test]
    fn verifies_sha512() {
        let digest: Digest = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            .parse()
            .expect("well formed");
        assert!(Verified::check(b"abc", &digest, 3).is_ok());
        assert!(Verified::check(b"abd", &digest, 3).is_err());
    }
}
