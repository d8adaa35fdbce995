//! What happens: pure decisions from a seed.

use super::world::{IMAGES, NAMESPACES, REGISTRIES};
use crate::support::dice::Dice;
use crate::support::liar::{At, Ending, RangeLie, Reply};

/// One thing after another.
#[derive(Debug)]
pub(super) enum Step {
    /// Some pulls beside each other, with what goes wrong meanwhile.
    Pulls { pulls: Vec<Pull>, troubles: Vec<Trouble>, meanwhile: Option<Meanwhile> },
    /// A name goes.
    Remove { image: usize, namespace: usize },
    /// Another client brings an image into the same containerd.
    Neighbour { image: usize, namespace: usize },
    /// The daemon is told to stop, and starts again.
    Restart,
}

/// One client.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    pub(super) image: usize,
    pub(super) registry: usize,
    pub(super) namespace: usize,
    /// After so many milliseconds he does not want it any more.
    pub(super) given_up_after: Option<u64>,
}

/// An answer that a registry gives once, or some times, instead of the right one.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) registry: usize,
    pub(super) image: usize,
    /// Which of its blobs; the manifest where there are not so many.
    pub(super) blob: usize,
    pub(super) times: usize,
    pub(super) reply: Reply,
}

/// What happens to others while pulls are under way, so many milliseconds after their start.
#[derive(Debug)]
pub(super) struct Meanwhile {
    pub(super) after: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    KillDaemon,
    StopDaemon,
    KillContainerd,
    PauseContainerd,
    Collect,
    Remove(usize),
    Revoke,
}

impl Step {
    pub(super) fn roll(dice: &mut Dice) -> Self {
        let (image, namespace) = (dice.below(IMAGES), dice.below(NAMESPACES.len()));
        match dice.below(20) {
            0..3 => Self::Remove { image, namespace },
            3 => Self::Neighbour { image, namespace },
            4 => Self::Restart,
            _ => {
                let pulls = (0..=dice.below(4)).map(|_| Pull::roll(dice)).collect();
                let troubles = (0..dice.below(6)).map(|_| Trouble::roll(dice)).collect();
                let meanwhile = dice.percent(45).then(|| Meanwhile::roll(dice));
                Self::Pulls { pulls, troubles, meanwhile }
            }
        }
    }
}

impl Pull {
    fn roll(dice: &mut Dice) -> Self {
        Self {
            image: dice.below(IMAGES),
            registry: dice.below(REGISTRIES),
            namespace: dice.below(NAMESPACES.len()),
            given_up_after: dice.percent(20).then(|| dice.below(400) as u64),
        }
    }
}

impl Trouble {
    fn roll(dice: &mut Dice) -> Self {
        Self {
            // The last one is the mirror.
            registry: dice.below(REGISTRIES + 1),
            image: dice.below(IMAGES),
            blob: dice.below(6),
            times: 1 + dice.below(2),
            reply: reply(dice),
        }
    }
}

/// Every class of trouble, each about as often.
fn reply(dice: &mut Dice) -> Reply {
    let some = |dice: &mut Dice| dice.below(300_000);
    match dice.below(19) {
        0 => Reply::status(*dice.pick(&[500, 502, 503])),
        1 => Reply::status(*dice.pick(&[401, 403, 404, 416])),
        2 => Reply::Status(429, vec![("retry-after", "0".into())], ""),
        3 => Reply::CutAfter(some(dice)),
        4 => Reply::ResetAfter(some(dice)),
        5 | 6 => Reply::Breaks(*dice.pick(&[Ending::Close, Ending::Reset]), *dice.pick(&At::CLASSES)),
        7 => Reply::TooMuch(1 + dice.below(5000)),
        8 => Reply::Flipped(some(dice)),
        9 => Reply::FlippedInBlob(some(dice)),
        10 => Reply::WrongRange,
        11 | 12 => {
            use RangeLie::{Backwards, First, Last, Missing, Multipart, Nonsense, Total};
            Reply::Lie(*dice.pick(&[First, Last, Total, Missing, Nonsense, Multipart, Backwards]))
        }
        13 => Reply::ShorterRange,
        14 => Reply::UnknownTotal,
        15 => Reply::IgnoreRange,
        16 => Reply::Etag("\"another\""),
        17 => Reply::Paced(200_000 + some(dice) as u64),
        _ => Reply::Status(200, vec![("content-type", "text/html".into())], "<html>please log in</html>"),
    }
}

impl Meanwhile {
    fn roll(dice: &mut Dice) -> Self {
        let what = match dice.below(14) {
            0..4 => What::KillDaemon,
            4 | 5 => What::StopDaemon,
            6..8 => What::KillContainerd,
            8 => What::PauseContainerd,
            9 | 10 => What::Collect,
            11 | 12 => What::Remove(dice.below(IMAGES)),
            _ => What::Revoke,
        };
        Self { after: dice.below(600) as u64, what }
    }
}

impl What {
    /// A pull may fail for it, and what was done may be undone.
    pub(super) fn disturbs(self) -> bool {
        !matches!(self, Self::Collect | Self::Revoke)
    }
}
