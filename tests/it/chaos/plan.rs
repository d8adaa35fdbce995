//! What happens: pure decisions from a seed.

use super::images::IMAGES;
use super::world::{MIRROR, NAMESPACES, REGISTRIES, STORAGE};
use crate::support::dice::Dice;
use crate::support::liar::{At, Ending, RangeLie, Reply};

/// Hours after which containerd lets a lease expire.
const LEASE: i64 = 24;

/// One thing after another.
#[derive(Debug)]
pub(super) enum Step {
    /// Some pulls beside each other, maybe of what was just removed everywhere, with what goes wrong
    /// meanwhile, in the order of time.
    Pulls { afresh: bool, pulls: Vec<Pull>, troubles: Vec<Trouble>, meanwhile: Vec<Meanwhile> },
    /// A name goes.
    Remove { image: usize, namespace: usize },
    /// The daemon is told to stop, and starts again.
    Restart,
}

/// One client.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    pub(super) image: usize,
    pub(super) registry: usize,
    pub(super) namespace: usize,
    pub(super) client: Client,
}

/// Who pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Ours, who stays for the answer.
    Stays,
    /// Ours, who does not want it any more after so many milliseconds, and says so.
    Leaves(u64),
    /// Ours, who is killed then.
    Dies(u64),
    /// containerd's own, who knows nothing of us.
    Ctr,
}

/// An answer that a registry gives once, or some times, instead of the right one.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Which of all that answer, by its place in `World::liars`.
    pub(super) liar: usize,
    pub(super) image: usize,
    pub(super) asked: Asked,
    pub(super) times: usize,
    pub(super) reply: Reply,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Token,
    Manifest,
    /// One of the image's blobs; the manifest where there are not so many.
    Blob(usize),
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
    StopContainerd,
    /// containerd stands still for a moment.
    PauseContainerd,
    /// The disk takes no bytes for a moment.
    FreezeDisk,
    /// The disk has room for so many MiB, until the step is over.
    FillDisk(u64),
    Collect,
    Remove {
        image: usize,
        namespace: usize,
    },
    /// What was a token or a signature is none any more.
    Revoke,
    /// lighterman's clock is so many hours fast from here on.
    Clock(i64),
}

impl Step {
    pub(super) fn roll(dice: &mut Dice) -> Self {
        let (image, namespace) = (dice.below(IMAGES), dice.below(NAMESPACES.len()));
        match dice.below(20) {
            0 => Self::Remove { image, namespace },
            1 => Self::Restart,
            _ => {
                let afresh = dice.percent(70);
                let pulls: Vec<_> = (0..=dice.below(4)).map(|_| Pull::roll(dice)).collect();
                let most = *dice.pick(&[1, 4, 8]);
                let troubles = (0..dice.below(most)).map(|_| Trouble::roll(dice, &pulls)).collect();
                let count = *dice.pick(&[0, 0, 1, 1, 2]);
                let mut meanwhile: Vec<_> = (0..count).map(|_| Meanwhile::roll(dice, &pulls)).collect();
                meanwhile.sort_by_key(|meanwhile| meanwhile.after);
                Self::Pulls { afresh, pulls, troubles, meanwhile }
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
            client: match dice.below(20) {
                0..3 => Client::Leaves(dice.below(400) as u64),
                3 => Client::Dies(dice.below(400) as u64),
                4 | 5 => Client::Ctr,
                _ => Client::Stays,
            },
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.client != Client::Ctr
    }

    pub(super) fn goes_away(&self) -> bool {
        matches!(self.client, Client::Leaves(_) | Client::Dies(_))
    }
}

impl Trouble {
    /// One that one of these pulls may well meet with.
    fn roll(dice: &mut Dice, pulls: &[Pull]) -> Self {
        let Pull { image, registry, .. } = *dice.pick(pulls);
        let asked = match dice.below(14) {
            0 => Asked::Token,
            1..4 => Asked::Manifest,
            _ => Asked::Blob(dice.below(6)),
        };
        let liar = match (asked, registry) {
            (Asked::Token, _) => 0,
            (_, 0) => *dice.pick(&[0, MIRROR]),
            (Asked::Blob(_), _) => *dice.pick(&[1, STORAGE]),
            (Asked::Manifest, other) => other,
        };
        Self { liar, image, asked, times: 1 + dice.below(2), reply: reply(dice) }
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
    fn roll(dice: &mut Dice, pulls: &[Pull]) -> Self {
        let what = match dice.below(20) {
            0..3 => What::KillDaemon,
            3 | 4 => What::StopDaemon,
            5 | 6 => What::KillContainerd,
            7 => What::StopContainerd,
            8 => What::PauseContainerd,
            9 => What::FreezeDisk,
            10 | 11 => What::FillDisk(dice.below(12) as u64),
            12 | 13 => What::Collect,
            // Of what is pulled just now, here or in the other namespace.
            14..17 => What::Remove { image: dice.pick(pulls).image, namespace: dice.below(NAMESPACES.len()) },
            17 => What::Revoke,
            _ => What::Clock(*dice.pick(&[-20_000, -200, -30, -3, 3, 30, 200, 20_000])),
        };
        Self { after: dice.below(600) as u64, what }
    }
}

impl What {
    /// Pulls may fail for it, and this node is to blame.
    pub(super) fn breaks(self) -> bool {
        match self {
            Self::KillDaemon | Self::StopDaemon | Self::KillContainerd | Self::StopContainerd | Self::FillDisk(_) => {
                true
            }
            Self::Clock(ahead) => expires_leases(ahead),
            Self::PauseContainerd | Self::FreezeDisk | Self::Collect | Self::Remove { .. } | Self::Revoke => false,
        }
    }

    /// Takes away what this pull brings, before it is done or after.
    pub(super) fn undoes(self, pull: &Pull) -> bool {
        self == Self::Remove { image: pull.image, namespace: pull.namespace }
    }
}

/// Whether containerd, whose clock is right, takes leases for old ones that are made by a clock that
/// is so many hours fast. So it is where a clock is set while a pull is under way.
pub(super) fn expires_leases(ahead: i64) -> bool {
    ahead <= -LEASE
}
