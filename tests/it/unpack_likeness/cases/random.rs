//! What nobody thought of: entries at random from so few names that they meet, and headers
//! with bytes at random that are there by mistake.

use std::ops::Range;

use super::super::tar::{Entry, device, dir, file, hardlink, long, other, padded, summed, symlink, tar};
use super::{Case, Verdict};
use crate::support::fixture::noise;

/// Where entries are made.
const PATHS: [&str; 20] = [
    "a", "b", "c", "l", "a/b", "a/c", "b/a", "l/x", "l/a", "a/b/d", "a/l", "a/l/x", "./a", "/b/", "../c", "b/.",
    "l/../b", "c/l", "c/l/a", "a/b/d/e",
];
/// Where whiteouts are.
const WHITEOUTS: [&str; 8] =
    [".wh.a", ".wh.b", "a/.wh.b", "l/.wh.x", "b/.wh..wh..opq", ".wh..wh..opq", "a/.wh..wh..opq", ".wh.c/"];
/// Where links lead.
const TARGETS: [&str; 12] = ["a", "b", "c", "l", ".", "/", "a/b", "../a", "gone", "gone/away", "/b", "a/../c"];

/// Images of one to three layers, the same ones for the same seeds.
pub(in super::super) fn random(seeds: Range<u64>) -> Vec<Case> {
    seeds
        .map(|seed| {
            let mut dice = Dice(noise(seed * 2 + 1, 4096).into_iter());
            let layers =
                (0..=dice.roll(3)).map(|_| tar((0..dice.roll(9) + 1).map(|_| entry(&mut dice)).collect::<Vec<_>>()));
            Case { name: format!("seed {seed}"), layers: layers.collect(), packed: None, verdict: Verdict::Either }
        })
        .collect()
}

struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().expect("enough noise")) % sides
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.roll(of.len())]
    }
}

fn entry(dice: &mut Dice) -> Entry {
    let path = dice.pick(&PATHS);
    let entry = match dice.roll(14) {
        0..4 => file(path, "content"),
        4..8 => dir(path),
        8 | 9 => symlink(path, dice.pick(&TARGETS)),
        10 => hardlink(path, dice.pick(&PATHS)),
        11 | 12 => file(dice.pick(&WHITEOUTS), ""),
        _ => match dice.roll(3) {
            0 => other(b'6', path),
            1 => device(b'3', path, (0, 0)),
            _ => other(b'g', path),
        },
    };
    let entry = if dice.roll(3) == 0 { entry.mode([0o700, 0o2755, 0o4711][dice.roll(3)]) } else { entry };
    let entry = if dice.roll(4) == 0 { entry.owner(7, 8) } else { entry };
    let entry = if dice.roll(4) == 0 { entry.xattr("user.a", "1") } else { entry };
    entry.modified(1000 + i64::from(dice.roll(100) as u8))
}

/// Where the fields of a header begin, those of the gnu format and of star among them.
const FIELDS: [usize; 20] =
    [0, 98, 100, 108, 116, 124, 136, 148, 156, 157, 257, 263, 329, 337, 345, 357, 386, 476, 482, 508];
/// What is written there: digits, paddings, signs, flags and what ends things.
const BYTES: &[u8] = b"\0\0  0011257-+/x.=,\n\x80\xffgLKSV";

/// One entry each whose headers and extended headers have some bytes that do not belong there.
pub(in super::super) fn damaged(seeds: Range<u64>) -> Vec<Case> {
    seeds
        .map(|seed| {
            let mut dice = Dice(noise(seed * 2 + 1_000_001, 4096).into_iter());
            let mut bytes = victim(&mut dice).bytes();
            let blocks = bytes.len() / 512;
            for _ in 0..=dice.roll(3) {
                let block = 512 * dice.roll(blocks);
                let field = FIELDS[dice.roll(FIELDS.len())] + dice.roll(4) * dice.roll(4);
                let end = block + (field + 1 + dice.roll(4)).min(512);
                let damage = &mut bytes[(block + field).min(end)..end];
                damage.iter_mut().for_each(|byte| *byte = BYTES[dice.roll(BYTES.len())]);
            }
            // Damage that a checksum would tell is not what this is about.
            let mut damaged: Vec<u8> = Vec::new();
            for block in bytes.chunks(512) {
                let is_header = block[257..].starts_with(b"ustar") || dice.roll(8) == 0;
                damaged.extend(if is_header { summed(block.to_vec()) } else { block.to_vec() });
            }
            let layer = [file("before", "1").bytes(), damaged, tar([file("after", format!("{seed}"))])].concat();
            Case { name: format!("damage {seed}"), layers: vec![layer], packed: None, verdict: Verdict::Either }
        })
        .collect()
}

fn victim(dice: &mut Dice) -> Entry {
    let sparse = |entry: Entry| entry.pax("GNU.sparse.numblocks", "2").pax("GNU.sparse.size", "14");
    match dice.roll(10) {
        0 => file("victim", "content"),
        1 => dir("victim/"),
        2 => symlink("victim", "before"),
        3 => device(b'3', "victim", (1, 3)),
        4 => file("victim", "content").pax("path", "renamed").pax("mtime", "1234567890.5").pax("uid", "7"),
        5 => file("victim", "content").xattr("user.a", "1").pax("size", "7"),
        6 => sparse(file("victim", "abcdefg")).pax("GNU.sparse.map", "2,3,10,4"),
        7 => file("victim", [padded(b"2\n2\n3\n10\n4\n"), b"abcdefg".to_vec()].concat())
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "14"),
        8 => long(b'L', "a/long/name"),
        _ => file("victim", "content").magic(b"ustar  \0"),
    }
}
