//! Entries at random from so few names that they meet: what nobody thought of.

use std::ops::Range;

use super::super::tar::{Entry, device, dir, file, hardlink, other, symlink, tar};
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
