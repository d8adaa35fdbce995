//! The seam to the decoders: compressed bytes pushed in, tar bytes out.
//!
//! Sans-I/O, so that a layer which waits for bytes holds no thread, and small, so that a
//! faster decoder can take the place of one without anybody noticing. What a layer is
//! compressed with is seen in its first bytes and not believed of its media type, except
//! that a type which says "tar" is never inflated: both as containerd does it.
//!
//! Specification: RFC 1952 (gzip, several members in a row), RFC 8878 (zstd, several frames,
//! skippable ones included).

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::core::descriptor::MediaType;

/// Bytes that containerd looks at before it decides.
pub const PEEKED: usize = 10;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Windows up to 8 MiB, which is what `zstd -19` asks for: the memory of the daemon is
/// bounded, and a layer that wants more is left to containerd.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes that a zstd decoder may hold.
pub const ZSTD_WINDOW: usize = 1 << ZSTD_WINDOW_LOG;
/// Window of gzip, and the flag that asks for its header.
const GZIP_WINDOW_BITS: u8 = 15;

/// What one step did. Neither consuming nor producing means that it wants more input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that were taken.
    pub consumed: usize,
    /// Bytes of the output that were filled.
    pub produced: usize,
}

impl Progress {
    /// A step that needs more input, or had nothing left to do.
    pub const NONE: Self = Self { consumed: 0, produced: 0 };
}

/// Why a layer does not inflate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The decoder refuses the bytes.
    #[error("{format}: {reason}")]
    Corrupt {
        /// gzip or zstd.
        format: &'static str,
        /// In the decoder's words.
        reason: String,
    },
    /// The bytes end within a member or frame.
    #[error("{format}: it ends too early")]
    Truncated {
        /// gzip or zstd.
        format: &'static str,
    },
    /// It can be decoded, but not within our memory.
    #[error("zstd: a window of more than {} MiB", ZSTD_WINDOW >> 20)]
    Window,
}

/// Bytes that the decoder of a layer may hold which is of this type and begins so; with its
/// first [`PEEKED`] bytes, or all of them where there are fewer.
#[must_use]
pub fn window(media_type: &MediaType, first: &[u8]) -> usize {
    if !is_plain(media_type) && Format::of(first) == Format::Zstd { ZSTD_WINDOW } else { 0 }
}

/// Whether a layer is never inflated, whatever it begins with.
fn is_plain(media_type: &MediaType) -> bool {
    media_type.as_str().ends_with(".v1.tar")
}

/// What a layer is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    fn of(first: &[u8]) -> Self {
        let skippable = first.len() >= 8 && first[0] & 0xf0 == 0x50 && first[1..4] == [0x2a, 0x4d, 0x18];
        if first.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if first.starts_with(&ZSTD_MAGIC) || skippable {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

/// A layer being inflated.
pub struct Inflater {
    state: State,
    /// The first bytes of the layer, which are looked at before they are decoded.
    peeked: Vec<u8>,
    /// How many of them have been decoded.
    decoded: usize,
}

enum State {
    /// Not enough has come to tell.
    Undecided,
    Plain,
    Gzip {
        decoder: Box<Decompress>,
        /// At the end of a member: the input may end here.
        between: bool,
        /// A second member has begun.
        is_row: bool,
    },
    Zstd {
        decoder: Box<Decoder<'static>>,
        between: bool,
    },
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// A decoder for a layer of this type.
    #[must_use]
    pub fn new(media_type: &MediaType) -> Self {
        let state = if is_plain(media_type) { State::Plain } else { State::Undecided };
        Self { state, peeked: Vec::new(), decoded: 0 }
    }

    /// A decoder for what says with its first bytes alone what it is.
    #[must_use]
    pub fn by_magic() -> Self {
        Self { state: State::Undecided, peeked: Vec::new(), decoded: 0 }
    }

    /// A decoder for what begins with a member of a gzip, wherever in a layer that is.
    #[must_use]
    pub fn at_member() -> Self {
        Self { state: State::gzip(), peeked: Vec::new(), decoded: 0 }
    }

    /// How the first member begins of a gzip that has several.
    #[must_use]
    pub fn row(&self) -> Option<&[u8]> {
        matches!(self.state, State::Gzip { is_row: true, .. }).then_some(&self.peeked)
    }

    /// Whether a member of a gzip has ended, so that another has to follow if anything does.
    #[must_use]
    pub fn is_between_members(&self) -> bool {
        matches!(self.state, State::Gzip { between: true, .. })
    }

    /// Decodes until the output is full or the input used up, of which the rest is left in
    /// `input`. Returns the bytes of output that were filled.
    ///
    /// # Errors
    /// [`InflateError`] as of [`Inflater::step`].
    pub fn fill(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize, InflateError> {
        let mut filled = 0;
        while filled < output.len() {
            let progress = self.step(input, &mut output[filled..])?;
            *input = &input[progress.consumed..];
            filled += progress.produced;
            if progress == Progress::NONE {
                break;
            }
        }
        Ok(filled)
    }

    /// Decodes as much as fits. Call it with the rest of the input, and with an empty one
    /// once all has come, until it makes no progress.
    ///
    /// # Errors
    /// [`InflateError::Corrupt`] or [`InflateError::Window`]; the layer cannot be decoded any further.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, InflateError> {
        let mut consumed = 0;
        if matches!(self.state, State::Undecided) {
            consumed = input.len().min(PEEKED - self.peeked.len());
            self.peeked.extend_from_slice(&input[..consumed]);
            if self.peeked.len() < PEEKED {
                return Ok(Progress { consumed, produced: 0 });
            }
            self.state = State::of(&self.peeked)?;
        }
        let mut produced = 0;
        if self.decoded < self.peeked.len() {
            let progress = self.state.step(&self.peeked[self.decoded..], output)?;
            self.decoded += progress.consumed;
            produced = progress.produced;
            if self.decoded < self.peeked.len() {
                return Ok(Progress { consumed, produced });
            }
        }
        let progress = self.state.step(&input[consumed..], &mut output[produced..])?;
        Ok(Progress { consumed: consumed + progress.consumed, produced: produced + progress.produced })
    }

    /// Tells that all input has come and been taken, before the last steps with an empty one.
    ///
    /// # Errors
    /// [`InflateError`] as of [`Inflater::step`].
    pub fn end_of_input(&mut self) -> Result<(), InflateError> {
        if matches!(self.state, State::Undecided) {
            self.state = State::of(&self.peeked)?;
        }
        Ok(())
    }

    /// Whether what has come is whole.
    ///
    /// # Errors
    /// [`InflateError::Truncated`] where it is not.
    pub fn finish(&self) -> Result<(), InflateError> {
        match &self.state {
            State::Gzip { between: false, .. } => Err(InflateError::Truncated { format: "gzip" }),
            State::Zstd { between: false, .. } => Err(InflateError::Truncated { format: "zstd" }),
            _ => Ok(()),
        }
    }
}

impl State {
    fn of(peeked: &[u8]) -> Result<Self, InflateError> {
        Ok(match Format::of(peeked) {
            Format::Plain => Self::Plain,
            Format::Gzip => Self::gzip(),
            Format::Zstd => {
                let mut decoder = Decoder::new().map_err(|error| corrupt("zstd", &error))?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|error| corrupt("zstd", &error))?;
                Self::Zstd { decoder: Box::new(decoder), between: false }
            }
        })
    }

    fn gzip() -> Self {
        let decoder = Box::new(Decompress::new_gzip(GZIP_WINDOW_BITS));
        Self::Gzip { decoder, between: false, is_row: false }
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, InflateError> {
        match self {
            Self::Undecided => Ok(Progress::NONE),
            Self::Plain => {
                let length = input.len().min(output.len());
                output[..length].copy_from_slice(&input[..length]);
                Ok(Progress { consumed: length, produced: length })
            }
            Self::Gzip { decoder, between, is_row } => {
                *is_row |= *between && !input.is_empty();
                gunzip(decoder, between, input, output)
            }
            Self::Zstd { decoder, between } => unzstd(decoder, between, input, output),
        }
    }
}

fn gunzip(
    decoder: &mut Decompress,
    between: &mut bool,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, InflateError> {
    if *between {
        if input.is_empty() {
            return Ok(Progress::NONE);
        }
        // Whatever follows a member has to be one.
        decoder.reset(true);
        *between = false;
    }
    let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
    let status = decoder.decompress(input, output, FlushDecompress::None).map_err(|error| corrupt("gzip", &error))?;
    *between = matches!(status, Status::StreamEnd);
    let advanced = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
    Ok(Progress {
        consumed: advanced(decoder.total_in(), before_in),
        produced: advanced(decoder.total_out(), before_out),
    })
}

fn unzstd(
    decoder: &mut Decoder<'static>,
    between: &mut bool,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, InflateError> {
    if *between && input.is_empty() {
        return Ok(Progress::NONE);
    }
    let (mut from, mut into) = (InBuffer::around(input), OutBuffer::around(output));
    let hint = decoder.run(&mut from, &mut into).map_err(|error| {
        // The library has a code for this, which its binding turns into words.
        if error.to_string().contains("too much memory") { InflateError::Window } else { corrupt("zstd", &error) }
    })?;
    *between = hint == 0;
    Ok(Progress { consumed: from.pos(), produced: into.pos() })
}

fn corrupt(format: &'static str, error: &dyn std::error::Error) -> InflateError {
    InflateError::Corrupt { format, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("compresses");
        encoder.finish().expect("compresses")
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 1).expect("compresses")
    }

    /// Inflates with inputs of `chunk` bytes and outputs of `room` bytes.
    fn inflate(kind: &str, input: &[u8], chunk: usize, room: usize) -> Result<Vec<u8>, InflateError> {
        let mut inflater = Inflater::new(&MediaType::parse(kind));
        let (mut inflated, mut output) = (Vec::new(), vec![0; room]);
        let mut run = |inflater: &mut Inflater, mut input: &[u8]| loop {
            let progress = inflater.step(input, &mut output)?;
            inflated.extend_from_slice(&output[..progress.produced]);
            input = &input[progress.consumed..];
            if progress == Progress::NONE {
                assert!(input.is_empty(), "input was left over");
                return Ok(());
            }
        };
        for chunk in input.chunks(chunk) {
            run(&mut inflater, chunk)?;
        }
        inflater.end_of_input()?;
        run(&mut inflater, &[])?;
        inflater.finish()?;
        Ok(inflated)
    }

    #[test]
    fn the_first_bytes_decide_unless_the_type_says_tar() {
        let content = b"a tar, for all that anybody knows".repeat(100);
        for input in [gzip(&content), zstd(&content), content.clone()] {
            assert_eq!(inflate(GZIP, &input, 7, 11).expect("inflates"), content);
        }
        let plain = "application/vnd.oci.image.layer.v1.tar";
        assert_eq!(inflate(plain, &gzip(&content), 9, 9).expect("is copied"), gzip(&content));
        assert_eq!(
            inflate("application/vnd.docker.image.rootfs.diff.tar", &gzip(&content), 9, 9).as_ref(),
            Ok(&content)
        );
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_layer() {
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        for input in [
            [gzip(b"one "), gzip(b""), gzip(b"two")].concat(),
            [zstd(b"one "), skippable.clone(), zstd(b"two")].concat(),
            [skippable.clone(), zstd(b"one two"), skippable].concat(),
        ] {
            for (chunk, room) in [(1, 1), (3, 100), (1000, 2), (1000, 1000)] {
                assert_eq!(inflate(GZIP, &input, chunk, room).expect("inflates"), b"one two");
            }
        }
    }

    #[test]
    fn what_is_no_whole_stream_is_refused() {
        let content = b"cargo".repeat(1000);
        for (format, whole) in [("gzip", gzip(&content)), ("zstd", zstd(&content))] {
            for length in [11, whole.len() / 2, whole.len() - 1] {
                assert_eq!(inflate(GZIP, &whole[..length], 64, 64), Err(InflateError::Truncated { format }));
            }
            let garbage = [whole.as_slice(), b"padding, which is no member"].concat();
            assert!(matches!(inflate(GZIP, &garbage, 64, 64), Err(InflateError::Corrupt { .. })), "{format}");
        }
        let mut damaged = gzip(&content);
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        assert!(matches!(inflate(GZIP, &damaged, 64, 64), Err(InflateError::Corrupt { format: "gzip", .. })));
        assert_eq!(inflate(GZIP, b"", 1, 1).expect("an empty layer is one"), b"");
        assert_eq!(inflate(GZIP, b"tiny", 1, 1).expect("is plain"), b"tiny");
    }

    #[test]
    fn a_window_beyond_our_memory_is_named() {
        let mut encoder = zstd::stream::raw::Encoder::new(1).expect("an encoder");
        encoder.set_parameter(zstd::stream::raw::CParameter::WindowLog(27)).expect("is known");
        let mut writer = zstd::stream::zio::Writer::new(Vec::new(), encoder);
        writer.write_all(b"cargo").expect("compresses");
        writer.finish().expect("compresses");
        assert_eq!(inflate(GZIP, &writer.into_inner().0, 64, 64), Err(InflateError::Window));
    }

    proptest! {
        #[test]
        fn no_input_panics_and_no_chunking_matters(
            mut input in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..3, chunk in 1usize..50
        ) {
            match kind {
                0 => input.splice(0..0, GZIP_MAGIC).for_each(drop),
                1 => input.splice(0..0, ZSTD_MAGIC).for_each(drop),
                _ => {}
            }
            let whole = inflate(GZIP, &input, 1000, 1000);
            prop_assert_eq!(inflate(GZIP, &input, chunk, 13).ok(), whole.ok());
        }
    }
}
