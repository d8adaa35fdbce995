//! The rows of the table: what is pulled where, against whom, and how much faster it has to be.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::Arguments;
use super::daemon::Containerd;
use super::differ;
use super::disk::{Disk, Speed, touch_memory};
use super::image::{Image, Recipe};
use super::measure::{self, loopback_bytes};
use super::outcome::{Turn, Turns};
use super::pullers::{Goal, Landing, Puller, Task, Trees};
use super::registry::{Pace, Registry};
use super::report::{self, Line, Report, Target};
use super::resolve;
use super::sandbox::Sandbox;

/// One row.
pub(crate) struct Row {
    /// For the command line.
    pub(crate) name: &'static str,
    /// For the table.
    pub(crate) title: &'static str,
    kind: Kind,
}

/// What a row measures.
enum Kind {
    /// A pull of an image that is not there, against a peer: at least so many times faster.
    Pull(Recipe, Pace, Goal, f64),
    /// The same of an image that is there.
    Again(Recipe, f64),
    /// One layer that containerd has, extracted by its own differ and by ours.
    Differ(Recipe),
    /// Our peak memory as a layer grows; MiB at the most, and MiB that it may grow.
    Memory { small: Recipe, large: Recipe, peak: f64, growth: f64 },
    /// Our own part of resolving a reference.
    Resolve(Recipe),
}

const MB: u64 = 1_000_000;
/// What registries of the large clouds give one connection.
const SLOW: Pace = Pace::PerConnection(20 * MB);
const FIVE: Recipe = Recipe::Cut { layers: 5, files: 115_000, bytes: 1500 * MB };
const LARGE: Recipe = Recipe::Filled { layers: 1, compressed: 249 * MB, largest: 16 * MB };
const SMALL: Recipe = Recipe::Filled { layers: 40, compressed: MB / 5, largest: MB / 10 };

/// Every row.
pub(crate) const ALL: [Row; 10] = [
    Row {
        name: "five",
        title: "pull and unpack, 5 layers of many files",
        kind: Kind::Pull(FIVE, Pace::Free, Goal::Unpacked, 5.0),
    },
    Row {
        name: "large",
        title: "pull and unpack, one large layer",
        kind: Kind::Pull(LARGE, Pace::Free, Goal::Unpacked, 3.5),
    },
    Row {
        name: "small",
        title: "pull and unpack, 40 small layers",
        kind: Kind::Pull(SMALL, Pace::Free, Goal::Unpacked, 8.0),
    },
    Row {
        name: "limited",
        title: "the large layer, 20 MB/s per connection",
        kind: Kind::Pull(LARGE, SLOW, Goal::Unpacked, 6.0),
    },
    Row {
        name: "content",
        title: "fetch 5 layers into containerd's content store",
        kind: Kind::Pull(FIVE, Pace::Free, Goal::Content, 5.0),
    },
    Row {
        name: "layout",
        title: "fetch 5 layers into an OCI layout (skopeo)",
        kind: Kind::Pull(FIVE, Pace::Free, Goal::Layout, 2.0),
    },
    Row { name: "differ", title: "apply one large layer as a differ", kind: Kind::Differ(LARGE) },
    Row { name: "present", title: "pull of 5 layers that are there", kind: Kind::Again(FIVE, 3.0) },
    Row {
        name: "memory",
        title: "peak memory as a layer grows",
        kind: Kind::Memory {
            small: Recipe::Noise { bytes: 250 * MB },
            large: Recipe::Noise { bytes: 2500 * MB },
            peak: 128.0,
            growth: 16.0,
        },
    },
    Row { name: "resolve", title: "host detection and resolve", kind: Kind::Resolve(SMALL) },
];

/// Everything that a row needs to run.
pub(crate) struct Bench<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) scratch: &'a Path,
    /// Where the disks of timed pulls lie.
    disks: &'a Path,
    /// Where those lie that are too large for memory.
    large_disks: &'a Path,
}

/// Runs the rows that were asked for, and prints the table.
pub(crate) fn run(arguments: &Arguments, sandbox: &Sandbox) {
    let scratch = sandbox.scratch();
    let disks = arguments.disk.as_deref();
    let large_disks = disks.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let bench = Bench { arguments, scratch, disks: disks.unwrap_or(scratch), large_disks };
    let mut report = Report::new(arguments);
    for row in ALL.iter().filter(|row| arguments.wants(row.name)) {
        report::progress(row.title);
        let (lines, details) = bench.row(row);
        report.add(row.name, lines, details);
    }
    report.print();
}

impl Bench<'_> {
    fn row(&self, row: &Row) -> (Vec<Line>, Value) {
        match row.kind {
            Kind::Pull(recipe, pace, goal, times) => {
                let (image, registry) = self.serve(recipe, pace);
                let [ours, synced, peer] = self.compare(&image, &registry, goal);
                let mut lines = vec![Line::ratio(row.title, [&ours, &peer], (Turn::wall, self.target(times)))];
                if !synced.0.is_empty() {
                    lines.push(Line::ratio("  synced", [&synced, &peer], (Turn::synced, self.target(times))));
                }
                let [ours, synced, peer] = [ours, synced, peer].map(|turns| turns.as_json());
                (lines, json!({"image": image.made, "ours": ours, "oursSynced": synced, "peer": peer}))
            }
            Kind::Again(recipe, times) => {
                let (image, registry) = self.serve(recipe, Pace::Free);
                let [ours, peer] = [self.ours(), self.peer()].map(|puller| self.again(&puller, &image, &registry));
                let line = Line::ratio(row.title, [&ours, &peer], (Turn::wall, self.target(times)));
                (vec![line], json!({"image": image.made, "ours": ours.as_json(), "peer": peer.as_json()}))
            }
            Kind::Differ(recipe) => {
                let (image, registry) = self.serve(recipe, Pace::Free);
                let [mut ours, mut peer] = <[Turns; 2]>::default();
                for _ in 0..self.arguments.turns() {
                    for (puller, turns) in [(self.ours(), &mut ours), (self.peer(), &mut peer)] {
                        turns.0.push(self.fresh(&puller, (&image, &registry), Goal::Content, &differ::apply));
                    }
                }
                let line = Line::ratio(row.title, [&ours, &peer], (Turn::wall, Target::None("s")));
                (vec![line], json!({"image": image.made, "ours": ours.as_json(), "peer": peer.as_json()}))
            }
            Kind::Memory { small, large, peak, growth } => {
                let (mut lines, mut details) = (Vec::new(), Vec::new());
                for (speed, kind) in [(Speed::Cached, ""), (Speed::Synchronous, ", slow disk")] {
                    let [before, after] = [small, large].map(|recipe| self.alone(recipe, speed));
                    let [first, last] = [&before, &after].map(|turns| turns.greatest(Turn::peak));
                    let title = format!("peak memory, 2.5 GB layer{kind}");
                    lines.push(Line::own(&title, last, Target::AtMost(peak, "MiB")));
                    let title = format!("  more than for 250 MB{kind}");
                    lines.push(Line::own(&title, last - first, Target::AtMost(growth, "MiB")));
                    details.push(
                        json!({"disk": format!("{speed:?}"), "small": before.as_json(), "large": after.as_json()}),
                    );
                }
                (lines, json!(details))
            }
            Kind::Resolve(recipe) => {
                let (_, registry) = self.serve(recipe, Pace::Free);
                resolve::row(self, &registry)
            }
        }
    }

    fn ours(&self) -> Puller {
        Puller::Ours(self.arguments.ours.clone(), Trees::Cached)
    }

    /// Whom ours is compared with.
    fn peer(&self) -> Puller {
        self.arguments.before.clone().map_or(Puller::Peer, Puller::Before)
    }

    /// How much faster than a true peer it has to be.
    fn target(&self, times: f64) -> Target {
        if self.arguments.before.is_some() { Target::None("s") } else { Target::Faster(times) }
    }

    /// An image and a registry that has it.
    fn serve(&self, recipe: Recipe, pace: Pace) -> (Image, Registry) {
        let recipe = if self.arguments.quick { recipe.quick() } else { recipe };
        let image = recipe.image(self.scratch);
        report::image(&image.made);
        image.warm();
        let registry = Registry::start(&image.storage, self.scratch, pace);
        (image, registry)
    }

    /// Ours, ours that syncs what it unpacks, and the peer's in turns; the second may be left out.
    fn compare(&self, image: &Image, registry: &Registry, goal: Goal) -> [Turns; 3] {
        let [mut ours, mut synced, mut peer] = <[Turns; 3]>::default();
        let syncing = Puller::Ours(self.arguments.ours.clone(), Trees::Synced);
        for _ in 0..self.arguments.turns() {
            let sides = [(self.ours(), &mut ours), (syncing.clone(), &mut synced), (self.peer(), &mut peer)];
            // Only unpacking makes trees, and an earlier lighterman stands for one kind of them.
            let syncs = goal == Goal::Unpacked && self.arguments.before.is_none();
            for (puller, turns) in sides.into_iter().filter(|(p, _)| syncs || *p != syncing) {
                let one = |puller: &Puller, task: &Task<'_>| pull(puller, task, registry);
                turns.0.push(self.fresh(&puller, (image, registry), goal, &one));
            }
        }
        [ours, synced, peer]
    }

    /// One turn on a disk of its own.
    fn fresh(
        &self,
        puller: &Puller,
        (image, registry): (&Image, &Registry),
        goal: Goal,
        one: &dyn Fn(&Puller, &Task<'_>) -> Turn,
    ) -> Turn {
        touch_memory(self.scratch, 2 * (image.made.bytes + image.made.compressed));
        let landing = self.landing(goal, Disk::fresh(self.scratch, self.disks, Speed::Cached));
        let reference = Image::reference(registry);
        let turn = one(puller, &Task { reference: &reference, goal, landing: &landing, scratch: self.scratch });
        report::turn(puller, &turn);
        turn
    }

    /// One side again and again, on one disk.
    fn again(&self, puller: &Puller, image: &Image, registry: &Registry) -> Turns {
        touch_memory(self.scratch, 2 * (image.made.bytes + image.made.compressed));
        let landing = self.landing(Goal::Unpacked, Disk::fresh(self.scratch, self.disks, Speed::Cached));
        let reference = Image::reference(registry);
        let task = Task { reference: &reference, goal: Goal::Unpacked, landing: &landing, scratch: self.scratch };
        pull(puller, &task, registry);
        let turns = Turns((0..self.arguments.turns()).map(|_| pull(puller, &task, registry)).collect());
        turns.0.iter().for_each(|turn| report::turn(puller, turn));
        turns
    }

    /// Ours alone.
    fn alone(&self, recipe: Recipe, speed: Speed) -> Turns {
        let (_, registry) = self.serve(recipe, Pace::Free);
        let reference = Image::reference(&registry);
        let one = |_| {
            let landing = self.landing(Goal::Unpacked, Disk::fresh(self.scratch, self.large_disks, speed));
            let task = Task { reference: &reference, goal: Goal::Unpacked, landing: &landing, scratch: self.scratch };
            let turn = pull(&self.ours(), &task, &registry);
            report::turn(&self.ours(), &turn);
            turn
        };
        Turns((0..self.arguments.turns().min(3)).map(one).collect())
    }

    /// A new disk, with a new containerd where the goal needs one.
    fn landing(&self, goal: Goal, disk: Disk) -> Landing {
        let daemon = (goal != Goal::Layout).then(|| Containerd::start(&disk, self.scratch));
        Landing { daemon, disk }
    }
}

/// Runs one pull and takes its figures.
fn pull(puller: &Puller, task: &Task<'_>, registry: &Registry) -> Turn {
    let daemon = task.landing.daemon.as_ref();
    let cpu = || daemon.map(Containerd::cpu).unwrap_or_default();
    let (wire, requests, used, served) = (loopback_bytes(), registry.requests(), cpu(), registry.cpu());
    let client = measure::measured(&puller.command(task), task.scratch);
    let (wire, used) = (loopback_bytes() - wire, cpu().saturating_sub(used));
    let sync = task.landing.disk.sync();
    Turn {
        client,
        sync,
        daemon_cpu: used,
        registry_cpu: registry.cpu().saturating_sub(served),
        daemon_peak: daemon.map(Containerd::peak).unwrap_or_default(),
        wire,
        requests: registry.requests() - requests,
    }
}
