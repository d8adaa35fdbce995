//! What the fuzz targets share: counted memory, inputs cut into pieces, layers in memory.

pub mod heap;
pub mod memory;

/// Sizes of pieces that look random and are the same for the same input, so that an input is
/// nothing but the file that is read: a real archive or program can be one.
#[derive(Debug, Clone)]
pub struct Sizes(u64);

impl Sizes {
    /// The sizes for an input.
    #[must_use]
    pub fn of(input: &[u8]) -> Self {
        // FNV-1a.
        Self(
            input
                .iter()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        // xorshift64*, whose state must not be 0.
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// The input in pieces of 1 to `most` bytes.
    pub fn cut<'a>(&mut self, input: &'a [u8], most: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((1 + self.below(most)).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces
    }
}

/// An input as up to four layers of whole blocks of a tar, so that headers stay headers; its last
/// byte says how many.
#[must_use]
pub fn layers(input: &[u8]) -> Vec<&[u8]> {
    let count = 1 + input.last().map_or(0, |last| usize::from(last % 4));
    let blocks = (input.len() / BLOCK).div_ceil(count).max(1);
    input.chunks(blocks * BLOCK).collect()
}

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// Texts of an input as absolute paths, some at a time, so many times.
#[must_use]
pub fn paths(input: &[u8], sizes: &mut Sizes, times: usize) -> Vec<Vec<String>> {
    let texts = input.split(|byte| matches!(byte, 0 | b'"')).filter(|text| (1..200).contains(&text.len()));
    let texts: Vec<String> = texts.take(64).map(|text| format!("/{}", String::from_utf8_lossy(text))).collect();
    if texts.is_empty() {
        return Vec::new();
    }
    let mut some = || (0..=sizes.below(3)).map(|_| texts[sizes.below(texts.len())].clone()).collect();
    (0..times).map(|_| some()).collect()
}
