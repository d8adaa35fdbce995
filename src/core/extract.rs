//! Parts of a file that was not read as a whole.
//!
//! A layer streams by once, and a program in it may have hundreds of megabytes. What decides
//! about it lies in few places: its start, the start of its data, its end. An [`Extract`] is
//! what was kept, and whoever reads it is told when something lies outside of that.

use std::ops::Range;

/// A file, as far as it was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extract {
    size: u64,
    /// By offset; they neither touch nor overlap.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Extract {
    /// A file of `size` bytes that begins with `prefix`.
    #[must_use]
    pub fn new(size: u64, prefix: Vec<u8>) -> Self {
        let mut extract = Self { size, pieces: Vec::new() };
        extract.add(0, prefix);
        extract
    }

    /// A file of which everything is here.
    #[must_use]
    pub fn whole(content: Vec<u8>) -> Self {
        Self::new(content.len() as u64, content)
    }

    /// Keeps some more bytes. Those that are here already, and those behind the end, are left out.
    pub fn add(&mut self, offset: u64, bytes: Vec<u8>) {
        let mut rest = bytes.as_slice();
        rest = &rest[..rest.len().min(usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX))];
        let mut at = offset;
        while !rest.is_empty() {
            let known = self.pieces.iter().map(|(start, piece)| (*start, *start + piece.len() as u64));
            match known.clone().find(|(start, end)| (*start..*end).contains(&at)) {
                Some((_, end)) => {
                    let skip = usize::try_from(end - at).map_or(rest.len(), |skip| skip.min(rest.len()));
                    (rest, at) = (&rest[skip..], end);
                }
                None => {
                    let next = known.map(|(start, _)| start).filter(|start| *start > at).min();
                    let room = next.and_then(|next| usize::try_from(next - at).ok()).unwrap_or(rest.len());
                    let (piece, left) = rest.split_at(room.min(rest.len()));
                    self.pieces.push((at, piece.to_vec()));
                    at += piece.len() as u64;
                    rest = left;
                }
            }
        }
        self.pieces.sort_by_key(|(start, _)| *start);
        self.join();
    }

    fn join(&mut self) {
        let mut joined: Vec<(u64, Vec<u8>)> = Vec::with_capacity(self.pieces.len());
        for (start, piece) in std::mem::take(&mut self.pieces) {
            match joined.last_mut() {
                Some((before, bytes)) if *before + bytes.len() as u64 == start => bytes.extend_from_slice(&piece),
                _ => joined.push((start, piece)),
            }
        }
        self.pieces = joined;
    }

    /// Size of the whole file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes of it are here.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.pieces.iter().map(|(_, piece)| piece.len() as u64).sum()
    }

    /// What is here from the first byte on.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        match self.pieces.first() {
            Some((0, piece)) => piece,
            _ => &[],
        }
    }

    /// Some bytes of the file; `None` where not all of them were kept, or there are not so many.
    #[must_use]
    pub fn get(&self, range: Range<u64>) -> Option<&[u8]> {
        let (start, piece) = self.pieces.iter().rev().find(|(start, _)| *start <= range.start)?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        piece.get(from..to)
    }

    /// Every byte of the file is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.prefix().len() as u64 == self.size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_what_was_kept_and_what_was_not() {
        let mut extract = Extract::new(100, b"abcd".to_vec());
        extract.add(50, b"wxyz".to_vec());
        assert_eq!(extract.prefix(), b"abcd");
        assert_eq!(extract.get(1..3), Some(&b"bc"[..]));
        assert_eq!(extract.get(51..54), Some(&b"xyz"[..]));
        assert_eq!(extract.get(3..5), None);
        assert_eq!(extract.get(40..52), None);
        assert!(!extract.is_whole());
        assert!(Extract::whole(b"ab".to_vec()).is_whole());
        assert!(Extract::whole(Vec::new()).is_whole());
    }

    proptest! {
        #[test]
        fn keeps_exactly_what_was_added(parts in prop::collection::vec((0u64..64, 0usize..24), 0..8)) {
            let file: Vec<u8> = (0u8..64).collect();
            let mut extract = Extract::new(64, Vec::new());
            let mut kept = [false; 64];
            for (offset, length) in parts {
                let end = (offset as usize + length).min(64);
                extract.add(offset, file[offset as usize..end].to_vec());
                kept[offset as usize..end].fill(true);
            }
            for start in 0..64u64 {
                for end in start + 1..=64 {
                    let range = start as usize..end as usize;
                    let expected = kept[range.clone()].iter().all(|kept| *kept).then(|| &file[range]);
                    prop_assert_eq!(extract.get(start..end), expected);
                }
            }
        }
    }
}
